"""WTTM against plain loops, by hand, and at what it must not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import WTTM, kl, transformed_teacher_kl


def by_loops(student, teacher, exponent, weighted):
    values = []
    for s, t in zip(student, teacher, strict=True):
        p, q = (np.exp(x) / np.exp(x).sum() for x in (t, s))
        powers = p**exponent
        divergence = sum(a * math.log(a / b) for a, b in zip(powers / powers.sum(), q, strict=True))
        values.append((powers.sum() if weighted else 1.0) * divergence)
    return float(np.mean(values))


@given(st.integers(1, 5), st.integers(1, 6), st.floats(0.05, 3), st.booleans())
def test_function_is_its_loop(batch, classes, exponent, weighted):
    student, teacher = 2 * np.random.default_rng(0).normal(size=(2, batch, classes))
    found = transformed_teacher_kl(torch.tensor(student), torch.tensor(teacher), exponent, weighted=weighted)
    assert found.item() == pytest.approx(by_loops(student, teacher, exponent, weighted), rel=1e-9, abs=1e-12)


def test_case_by_hand():
    # Teacher (0.8, 0.2): square roots 2 : 1 after normalization, power sum 0.8^0.5 + 0.2^0.5; student (1/2, 1/2).
    teacher, student = torch.tensor([[math.log(4.0), 0.0]]), torch.zeros(1, 2)
    divergence = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    assert transformed_teacher_kl(student, teacher, 0.5, weighted=False).item() == pytest.approx(divergence, rel=1e-6)
    power_sum = math.sqrt(0.8) + math.sqrt(0.2)
    assert transformed_teacher_kl(student, teacher, 0.5).item() == pytest.approx(power_sum * divergence, rel=1e-6)


def test_an_exponent_of_one_is_the_divergence_itself():
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(transformed_teacher_kl(student, teacher, 1.0), kl(student, teacher, 1.0))


def test_it_rests_at_the_softened_teacher_and_not_at_the_teacher():
    teacher = 3 * torch.randn(4, 5, dtype=torch.float64)
    for logits, at_rest in ((0.1 * teacher, True), (teacher, False)):
        student = logits.clone().requires_grad_()
        value = transformed_teacher_kl(student, teacher, 0.1)
        value.backward()
        assert (abs(value.item()) < 1e-12) == at_rest
        assert bool(student.grad.abs().max() < 1e-9) == at_rest


def test_gradient_is_that_of_finite_differences():
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    inputs = (student.requires_grad_(), teacher.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: transformed_teacher_kl(s, t, 0.3), inputs)


@pytest.mark.parametrize("weighted", [True, False])
def test_settings_arrive_in_the_term(made_up, weighted):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    loss = WTTM(weight=3.0, exponent=0.4, weighted=weighted)
    total, terms = loss(student, [teacher, other], torch.arange(4))
    expected = transformed_teacher_kl(student.logits, teacher.logits, 0.4, weighted=weighted)
    torch.testing.assert_close(terms, {"wttm": expected})
    torch.testing.assert_close(total, 3.0 * expected)


def test_what_does_not_fit_is_named():
    logits = torch.zeros(2, 3)
    with pytest.raises(UserError, match=r"\(2, 3\) and \(2, 4\) were given"):
        transformed_teacher_kl(logits, torch.zeros(2, 4), 0.1)
    with pytest.raises(UserError, match=r"exponent must be above 0; 0\.0"):
        transformed_teacher_kl(logits, logits, 0.0)
    with pytest.raises(UserError, match=r"WTTM\.exponent"):
        WTTM(exponent=0.0)
