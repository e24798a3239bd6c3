"""AT: against loops, at the edges, and what must not change it."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import AT, attention, attention_transfer
from persistill.structures import ModelOutput


def looped(student, teacher):
    """The formula, one image and one position at a time, for maps of one size."""

    def look(sample):
        channels, height, width = sample.shape
        values = [
            sum(sample[c, y, x].item() ** 2 for c in range(channels)) / channels
            for y in range(height)
            for x in range(width)
        ]
        norm = math.sqrt(sum(value**2 for value in values))
        return [value / norm for value in values]

    squares = [
        (x - y) ** 2
        for one, other in zip(student, teacher, strict=True)
        for x, y in zip(look(one), look(other), strict=True)
    ]
    return sum(squares) / len(squares)


def test_function_is_its_loop():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 2, 4, 5, dtype=torch.float64), torch.randn(3, 6, 4, 5, dtype=torch.float64)
    assert attention_transfer(student, teacher).item() == pytest.approx(looped(student, teacher), rel=1e-12)


def test_function_by_hand():
    # One channel, two positions: squares 9 and 16, norm sqrt 337, against all attention on the first.
    student, teacher = torch.tensor([[[[3.0, -4.0]]]]), torch.tensor([[[[2.0, 0.0]]]])
    first, second = 9 / math.sqrt(337), 16 / math.sqrt(337)
    expected = ((first - 1) ** 2 + second**2) / 2
    assert attention_transfer(student, teacher).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "both"), [((4, 6), (8, 6), (4, 6)), ((5, 5), (3, 2), (3, 2)), ((4, 2), (2, 4), (2, 2))]
)
def test_maps_are_averaged_down_to_the_smaller(ours, theirs, both):
    torch.manual_seed(1)
    student = torch.randn(2, 3, *ours, dtype=torch.float64)
    teacher = torch.randn(2, 3, *theirs, dtype=torch.float64)
    expected = looped(F.adaptive_avg_pool2d(student, both), F.adaptive_avg_pool2d(teacher, both))
    assert attention_transfer(student, teacher).item() == pytest.approx(expected)


def test_term_is_the_sum_over_stages(made_up):
    student, teacher = made_up(0), made_up(1, channels=3)
    method = AT(weight=5.0)
    terms = method.terms(student, [teacher], torch.zeros(4))
    assert method.weights == {"at": 5.0}
    assert method.num_teachers == 1
    expected = sum(looped(student.feature_maps[name], teacher.feature_maps[name]) for name in student.feature_maps)
    assert terms["at"].item() == pytest.approx(expected)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    value = AT().terms(student, [made_up(0)], torch.zeros(4))["at"]
    assert value == 0
    value.backward()
    assert all(stage.grad.abs().max() == 0 for stage in student.feature_maps.values())


@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1e2))
@settings(deadline=None, max_examples=20)
def test_rotations_of_channels_and_scale_do_not_matter(seed, scale):
    torch.manual_seed(seed)
    features = torch.randn(2, 3, 4, 2, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turned = scale * torch.einsum("dc,bchw->bdhw", rotation, features)
    torch.testing.assert_close(attention(turned), attention(features))
    teacher = torch.randn(2, 5, 4, 2, dtype=torch.float64)
    assert 0 <= attention_transfer(features, teacher) <= 2 / 8  # unit vectors of non-negative numbers


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    student = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention_transfer, (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student = made_up(0)
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        AT().terms(student, [ModelOutput(student.logits, student.embedding, {})], torch.zeros(4))
    with pytest.raises(UserError, match=r"AT.weight: .*; -1.0 was given"):
        AT(weight=-1.0)
