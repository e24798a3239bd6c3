"""CWD against plain loops, by hand, and at what it must not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import CWD, MethodContext, channel_divergence
from persistill.structures import ModelOutput

TARGET = torch.zeros(4, dtype=torch.long)


def by_loops(student, teacher, temperature):
    total, (batch, channels) = 0.0, student.shape[:2]
    for i in range(batch):
        for c in range(channels):
            p, q = (
                np.exp(x[i, c].ravel() / temperature) / np.exp(x[i, c].ravel() / temperature).sum()
                for x in (teacher, student)
            )
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / (batch * channels)


@given(st.integers(1, 3), st.integers(1, 3), st.sampled_from([(1, 1), (2, 3), (4, 1)]), st.floats(0.5, 8))
def test_function_is_its_loop(batch, channels, size, temperature):
    student, teacher = np.random.default_rng(0).normal(size=(2, batch, channels, *size))
    found = channel_divergence(torch.tensor(student), torch.tensor(teacher), temperature)
    assert found.item() == pytest.approx(by_loops(student, teacher, temperature), abs=1e-9)


def test_case_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): KL = 3/4 log 3/2 + 1/4 log 1/2.
    teacher, student = torch.tensor([[[math.log(3.0), 0.0]]]), torch.zeros(1, 1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert channel_divergence(student, teacher, 1.0).item() == pytest.approx(expected, rel=1e-6)
    assert channel_divergence(teacher, student, 1.0).item() != pytest.approx(expected, rel=0.05), "the other direction"


def test_an_offset_of_a_channel_does_not_count():
    student, teacher = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    value = channel_divergence(student, teacher)
    offset = torch.randn(2, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(channel_divergence(student + offset, teacher - 2 * offset), value)


def test_gradient_is_that_of_finite_differences():
    student, teacher = torch.randn(2, 2, 3, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(channel_divergence, (student.requires_grad_(), teacher.requires_grad_()))


def test_the_last_stage_is_compared_or_those_that_are_named(made_up):
    student, teacher = made_up(0), made_up(1)
    context = MethodContext(student, [teacher], TARGET)
    last = CWD(temperature=2.0).build(context)
    found = last(student, [teacher], TARGET).terms["cwd"]
    stages = [channel_divergence(student.feature_maps[s], teacher.feature_maps[s], 2.0) for s in student.feature_maps]
    torch.testing.assert_close(found, stages[-1])
    assert list(last.parameters()) == []
    two = CWD(temperature=2.0, maps=("stage0", "stage2")).build(context)
    torch.testing.assert_close(two(student, [teacher], TARGET).terms["cwd"], (stages[0] + stages[2]) / 2)


def test_other_channels_and_sizes_are_brought_together(made_up):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(5, 3, 1))
    module = CWD(weight=7.0).build(MethodContext(student, [teacher], TARGET)).double()
    total, terms = module(student, [teacher], TARGET)
    brought = module.adapters[0](torch.nn.functional.adaptive_avg_pool2d(student.feature_maps["stage2"], (1, 2)))
    torch.testing.assert_close(terms["cwd"], channel_divergence(brought, teacher.feature_maps["stage2"]))
    torch.testing.assert_close(total, 7.0 * terms["cwd"])
    total.backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_dense_logits_are_compared_as_channels(made_up):
    loss = CWD(on="logits", weight=3.0)
    assert (loss.required_outputs, dict(loss.weights)) == ({"logits"}, {"cwd_logits": 3.0})
    logits = torch.randn(2, 4, 5, 3, 2)
    student, teacher = (ModelOutput(each, torch.zeros(4, 1), {}) for each in logits)
    module = loss.build(MethodContext(student, [teacher], TARGET))
    target = torch.randint(5, (4, 3, 2))
    terms = module(student, [teacher], target).terms
    torch.testing.assert_close(terms["cwd_logits"], channel_divergence(*logits))
    with pytest.raises(UserError, match="Logits of whole images have no positions"):
        loss.build(MethodContext(made_up(0), [made_up(1)], TARGET))(made_up(0), [made_up(1)], TARGET)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"\(1, 2, 3, 3\) and \(1, 2, 3, 4\) were given"):
        channel_divergence(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 4))
    with pytest.raises(UserError, match=r"temperature must be above 0; 0\.0"):
        channel_divergence(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2, 3, 3), 0.0)
    with pytest.raises(UserError, match=r"CWD\.temperature"):
        CWD(temperature=0.0)
