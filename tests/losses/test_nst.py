"""NST: against loops over channels, by hand, at dead channels, and what must not change it."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import NST, neuron_selectivity
from persistill.structures import ModelOutput

TARGET = torch.zeros(4, dtype=torch.long)


def looped(student, teacher):
    """The discrepancy in the kernel's own feature space: the outer products of channels, whose means are compared.

    (x . y)^2 is the inner product of x x' and y y'. Nothing of the code's sums over pairs of channels is left.
    """

    def mean_outer_product(sample):
        places = sample[0].numel()
        mean = [[0.0] * places for _ in range(places)]
        for channel in sample.flatten(1).tolist():
            norm = math.hypot(*channel)
            for i, x in enumerate(channel):
                for j, y in enumerate(channel):
                    mean[i][j] += x * y / norm**2 / len(sample)
        return mean

    total = 0.0
    for one, other in zip(student, teacher, strict=True):
        for a, b in zip(mean_outer_product(one), mean_outer_product(other), strict=True):
            total += sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return total / len(student)


@pytest.mark.parametrize("batch", [1, 3])
def test_function_is_its_loop(batch):
    torch.manual_seed(0)
    student, teacher = (
        torch.randn(batch, 2, 3, 2, dtype=torch.float64),
        torch.randn(batch, 5, 3, 2, dtype=torch.float64),
    )
    assert neuron_selectivity(student, teacher).item() == pytest.approx(looped(student, teacher), rel=1e-12)


def test_function_by_hand():
    # Two channels, each alive at one of two places, against one that is alive at both alike: kernels are 1 and 0 among
    # the student's, 1 for the teacher's, (1 / sqrt 2)^2 between them.
    student, teacher = torch.tensor([[[[3.0, 0.0]], [[0.0, -2.0]]]]), torch.tensor([[[[5.0, 5.0]]]])
    assert neuron_selectivity(student, teacher).item() == pytest.approx(0.5 + 1 - 2 * 0.5)


@pytest.mark.parametrize(
    ("ours", "theirs", "both"), [((4, 6), (8, 6), (4, 6)), ((5, 5), (3, 2), (3, 2)), ((4, 2), (2, 4), (2, 2))]
)
def test_maps_are_averaged_down_to_the_smaller(ours, theirs, both):
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 3, *ours, dtype=torch.float64), torch.randn(2, 4, *theirs, dtype=torch.float64)
    expected = looped(F.adaptive_avg_pool2d(student, both), F.adaptive_avg_pool2d(teacher, both))
    assert neuron_selectivity(student, teacher).item() == pytest.approx(expected)


def test_term_is_the_sum_over_stages(made_up):
    student, teacher = made_up(0), made_up(1, channels=3)
    method = NST(weight=5.0)
    terms = method.terms(student, [teacher], TARGET)
    assert method.weights == {"nst": 5.0}
    assert method.num_teachers == 1
    expected = sum(looped(student.feature_maps[name], teacher.feature_maps[name]) for name in student.feature_maps)
    assert terms["nst"].item() == pytest.approx(expected)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    value = NST().terms(student, [made_up(0)], TARGET)["nst"]
    assert value.item() == pytest.approx(0, abs=1e-15)
    value.backward()
    for stage in student.feature_maps.values():
        torch.testing.assert_close(stage.grad, torch.zeros_like(stage))


@given(st.integers(0, 2**32 - 1), st.floats(1e-2, 1e2))
@settings(deadline=None, max_examples=20)
def test_order_size_and_sign_of_channels_do_not_matter(seed, scale):
    torch.manual_seed(seed)
    student, teacher = torch.randn(3, 4, 2, 3, dtype=torch.float64), torch.randn(3, 5, 2, 3, dtype=torch.float64)
    value = neuron_selectivity(student, teacher)
    assert -1e-12 <= value <= 2
    sizes = scale * torch.randn(3, 4, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(neuron_selectivity(sizes * student, teacher), value)
    torch.testing.assert_close(neuron_selectivity(student[:, torch.randperm(4)], teacher), value)
    torch.testing.assert_close(neuron_selectivity(student.repeat(1, 2, 1, 1), teacher), value)
    torch.testing.assert_close(neuron_selectivity(teacher, student), value)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(4)
    student = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(neuron_selectivity, (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student = made_up(0)
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        NST().terms(student, [ModelOutput(student.logits, student.embedding, {})], TARGET)
    with pytest.raises(UserError, match=r"NST.weight: .*; -1.0 was given"):
        NST(weight=-1.0)
