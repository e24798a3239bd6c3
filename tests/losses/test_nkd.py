"""NKD against plain loops, by hand, and at what it must not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import NKD, decoupled_kl, normalized_kd

TARGET = torch.tensor([0, 2, 1, 2])


def by_loops(student, teacher, target, temperature):
    of_target, of_others = [], []
    for s, t, k in zip(student, teacher, target, strict=True):
        p, q = (np.exp(x) / np.exp(x).sum() for x in (t, s))
        of_target.append(-p[k] * math.log(q[k]))
        soft = [np.exp(np.delete(x, k) / temperature) for x in (t, s)]
        soft = [x / x.sum() for x in soft]
        of_others.append(-(temperature**2) * sum(a * math.log(b) for a, b in zip(*soft, strict=True)))
    return float(np.mean(of_target)), float(np.mean(of_others))


@given(st.integers(2, 6), st.floats(0.5, 8), st.integers(0, 3))
def test_function_is_its_loop(classes, temperature, seed):
    random = np.random.default_rng(seed)
    student, teacher = 2 * random.normal(size=(2, 5, classes))
    target = random.integers(0, classes, 5)
    found = normalized_kd(torch.tensor(student), torch.tensor(teacher), torch.tensor(target), temperature)
    assert [one.item() for one in found] == pytest.approx(by_loops(student, teacher, target, temperature), rel=1e-9)


def test_case_by_hand():
    # Teacher (1/2, 1/4, 1/4), student (1/3, 1/3, 1/3), target 0: 1/2 log 3, and log 2 among the others.
    teacher, student = torch.tensor([[math.log(2.0), 0.0, 0.0]]), torch.zeros(1, 3)
    of_target, of_others = normalized_kd(student, teacher, torch.tensor([0]), 1.0)
    assert of_target.item() == pytest.approx(0.5 * math.log(3), rel=1e-6)
    assert of_others.item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_other_classes_learn_what_dkd_has_them_learn():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    gradients = []
    for part in (
        lambda s: normalized_kd(s, teacher, TARGET, 3.0)[1],
        lambda s: decoupled_kl(s, teacher, TARGET, 3.0)[1],
    ):
        leaf = student.clone().requires_grad_()
        part(leaf).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


def test_gradient_is_that_of_finite_differences():
    inputs = [one.requires_grad_() for one in torch.randn(2, 4, 3, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda s, t: normalized_kd(s, t, TARGET, 3.0), inputs)


def test_settings_arrive_in_the_terms(made_up):
    student, teacher, other = made_up(0), made_up(1), made_up(2)
    loss = NKD(target=2.0, others=3.0, temperature=2.5)
    total, terms = loss(student, [teacher, other], TARGET)
    expected = normalized_kd(student.logits, teacher.logits, TARGET, 2.5)
    assert (terms["nkd_target"], terms["nkd_others"]) == expected
    torch.testing.assert_close(total, 2.0 * expected[0] + 3.0 * expected[1])


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"\(4, 3\) and \(4, 5\) were given"):
        normalized_kd(torch.zeros(4, 3), torch.zeros(4, 5), TARGET, 1.0)
    with pytest.raises(UserError, match="the logits hold 1 class"):
        normalized_kd(torch.zeros(4, 1), torch.zeros(4, 1), TARGET, 1.0)
    with pytest.raises(UserError, match=r"temperature must be above 0; 0\.0"):
        normalized_kd(torch.zeros(4, 3), torch.zeros(4, 3), TARGET, 0.0)
