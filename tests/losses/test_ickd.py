"""ICKD-C: against loops over channels, by hand, with an adapter that changes nothing, and at dead channels."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import ICKD, MethodContext, channel_correlation
from persistill.structures import Batch, ModelOutput

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def looped(student, teacher):
    """The formula, one channel of one image after another."""

    def rows(image):
        channels = image.flatten(1).tolist()
        for one in channels:
            products = [sum(a * b for a, b in zip(one, other, strict=True)) for other in channels]
            yield [product / math.hypot(*products) for product in products]

    total = 0.0
    for one, other in zip(student, teacher, strict=True):
        for a, b in zip(rows(one), rows(other), strict=True):
            total += sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return total / (student.shape[0] * student.shape[1])


def learner_of(method, student, teacher):
    return method.build(MethodContext(student, [teacher], BATCH.target)).double()


@pytest.mark.parametrize("batch", [1, 3])
def test_function_is_its_loop(batch):
    torch.manual_seed(0)
    student = torch.randn(batch, 4, 3, 2, dtype=torch.float64)
    teacher = torch.randn(batch, 4, 5, 5, dtype=torch.float64)
    assert channel_correlation(student, teacher).item() == pytest.approx(looped(student, teacher), rel=1e-12)


def test_function_by_hand():
    # The student's channels are unrelated: rows (1, 0), (0, 1). The teacher's are the same: both rows (1, 1) / sqrt 2.
    student, teacher = torch.tensor([[[[3.0, 0.0]], [[0.0, 2.0]]]]), torch.tensor([[[[1.0, 5.0]], [[1.0, 5.0]]]])
    assert channel_correlation(student, teacher).item() == pytest.approx((1 - 0.5**0.5) ** 2 + 0.5)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100))
@settings(deadline=None, max_examples=15)
def test_size_and_places_do_not_matter_and_channels_only_together(seed, scale):
    torch.manual_seed(seed)
    student, teacher = torch.randn(2, 3, 4, 2, 3, dtype=torch.float64)
    value, places, order = channel_correlation(student, teacher), torch.randperm(6), torch.randperm(4)
    assert 0 <= value <= 4
    torch.testing.assert_close(channel_correlation(scale * student, teacher), value)
    torch.testing.assert_close(channel_correlation(student.flatten(2)[:, :, places, None], teacher), value)
    torch.testing.assert_close(channel_correlation(student[:, order], teacher[:, order]), value)
    torch.testing.assert_close(channel_correlation(teacher, student), value)


@pytest.mark.parametrize(
    ("maps", "stages"), [(None, ["stage2"]), (("stage0",), ["stage0"]), (("stage2", "stage1"), ["stage1", "stage2"])]
)
def test_term_is_the_mean_over_the_chosen_stages(made_up, maps, stages):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(7, 3, 1))
    method = ICKD(weight=5.0, maps=maps)
    learner = learner_of(method, student, teacher)
    found = learner.terms(student, [teacher, made_up(2)], BATCH)
    assert method.weights == {"ickd": 5.0}
    assert list(found) == ["ickd"]
    assert method.num_teachers == 1
    expected = 0.0
    for stage, adapter in zip(stages, learner.adapters, strict=True):
        convolution, norm = adapter.layers
        reached = F.conv2d(student.feature_maps[stage], convolution.weight)
        reached = F.batch_norm(reached, None, None, norm.weight, norm.bias, training=True)
        expected += looped(reached, teacher.feature_maps[stage]) / len(stages)
    assert found["ickd"].item() == pytest.approx(expected, rel=1e-6)


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    learner = learner_of(ICKD(), student, student).eval()
    torch.nn.init.dirac_(learner.adapters[0].layers[0].weight)
    value = learner.terms(student, [made_up(0)], BATCH)["ickd"]
    assert value.item() == pytest.approx(0, abs=1e-12)
    value.backward()
    assert student.feature_maps["stage2"].grad.abs().max() < 1e-9


def test_the_adapters_learn(made_up, trained):
    student, teacher = made_up(0), made_up(1, channels=3)
    torch.manual_seed(0)
    learner = learner_of(ICKD(), student, teacher)
    optimizer = torch.optim.SGD([*learner.parameters(), student.feature_maps["stage2"]], lr=1.0)
    values = trained(learner, optimizer, 60, student, teacher, BATCH)
    assert values[-1] < values[0] / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["zero", "constant", "large", "one place"])
def test_gradients_of_the_function_are_finite(kind, dtype):
    torch.manual_seed(2)
    student = {
        "zero": torch.zeros(3, 4, 5, 5),
        "constant": torch.ones(3, 4, 5, 5),
        "large": torch.randn(3, 4, 5, 5).sign() * 6e4,
        "one place": torch.randn(3, 4, 1, 1),
    }[kind]
    student = student.to(dtype).requires_grad_()
    value = channel_correlation(student, torch.randn(3, 4, 3, 3).to(dtype))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_a_dead_channel_relates_to_nothing_and_passes_no_gradient():
    torch.manual_seed(3)
    alive = torch.tensor([1.0, 0.0])[:, None, None]
    student = (torch.randn(2, 2, 3, 3) * alive).requires_grad_()
    value = channel_correlation(student, torch.randn(2, 2, 3, 3) * alive.flip(0))
    assert value.item() == pytest.approx(1.0)  # in both rows one of the two is zero
    value.backward()
    assert student.grad.isfinite().all()


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(4)
    student = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(channel_correlation, (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student, teacher = made_up(0), made_up(1)
    with pytest.raises(UserError, match=r"\(2, 3, 4, 4\), the teacher's \(2, 5, 4, 4\)"):
        channel_correlation(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        learner_of(ICKD(), student, ModelOutput(student.logits, student.embedding, {}))
    with pytest.raises(UserError, match="unknown stage of the student: 'stag1'"):
        learner_of(ICKD(maps=("stag1",)), student, teacher)
    with pytest.raises(UserError, match=r"ICKD.weight: .*; -1.0 was given"):
        ICKD(weight=-1.0)
