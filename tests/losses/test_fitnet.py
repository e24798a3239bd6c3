"""FitNet: against loops, with an adapter that changes nothing, at the edges, and as something that learns."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.losses import FitNet, MethodContext, hint_loss
from persistill.structures import Batch, ModelOutput

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def looped(student, teacher):
    """One number after another."""
    pairs = list(zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    return sum((a - b) ** 2 for a, b in pairs) / len(pairs)


def learner_of(method, student, teacher):
    return method.build(MethodContext(student, [teacher], BATCH.target)).double()


def test_function_is_its_loop_and_by_hand():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5, 2, dtype=torch.float64)
    assert hint_loss(student, teacher).item() == pytest.approx(looped(student, teacher), rel=1e-12)
    one, other = torch.tensor([[[[1.0, 2.0]], [[0.0, 0.0]]]]), torch.tensor([[[[1.0, 4.0]], [[3.0, 1.0]]]])
    assert hint_loss(one, other).item() == pytest.approx((0 + 4 + 9 + 1) / 4)


@pytest.mark.parametrize(
    ("ours", "theirs", "both"), [((4, 6), (8, 6), (4, 6)), ((5, 5), (3, 2), (3, 2)), ((4, 2), (2, 4), (2, 2))]
)
def test_maps_are_averaged_down_to_the_smaller(ours, theirs, both):
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 3, *ours, dtype=torch.float64), torch.randn(2, 3, *theirs, dtype=torch.float64)
    expected = looped(F.adaptive_avg_pool2d(student, both), F.adaptive_avg_pool2d(teacher, both))
    assert hint_loss(student, teacher).item() == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1), st.floats(-10, 10), st.floats(0.1, 10))
@settings(deadline=None, max_examples=15)
def test_common_shift_and_order_do_not_matter_and_scale_counts_twice(seed, shift, scale):
    torch.manual_seed(seed)
    student, teacher = torch.randn(2, 3, 4, 2, 3, dtype=torch.float64)
    value, order = hint_loss(student, teacher), torch.randperm(4)
    torch.testing.assert_close(hint_loss(student + shift, teacher + shift), value)
    torch.testing.assert_close(hint_loss(student[:, order], teacher[:, order]), value)
    torch.testing.assert_close(hint_loss(scale * student, scale * teacher), scale**2 * value)


@pytest.mark.parametrize(
    ("maps", "stages"), [(None, ["stage1"]), (("stage2",), ["stage2"]), (("stage2", "stage0"), ["stage0", "stage2"])]
)
def test_term_is_the_mean_over_the_chosen_stages(made_up, maps, stages):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(7, 3, 1))
    method = FitNet(weight=5.0, maps=maps)
    learner = learner_of(method, student, teacher)
    found = learner.terms(student, [teacher, made_up(2)], BATCH)
    assert method.weights == {"fitnet": 5.0}
    assert list(found) == ["fitnet"]
    assert method.num_teachers == 1
    expected = 0.0
    for stage, regressor in zip(stages, learner.regressors, strict=True):
        convolution, norm = regressor.layers
        size = [
            min(a, b)
            for a, b in zip(student.feature_maps[stage].shape[2:], teacher.feature_maps[stage].shape[2:], strict=True)
        ]
        reached = F.conv2d(F.adaptive_avg_pool2d(student.feature_maps[stage], size), convolution.weight)
        reached = F.batch_norm(reached, None, None, norm.weight, norm.bias, training=True)
        expected += looped(reached, F.adaptive_avg_pool2d(teacher.feature_maps[stage], size)) / len(stages)
    assert found["fitnet"].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"), [(3, 3, 1), (4, 4, 1), (5, 5, 2), (2, 5, 3), (5, 2, 0), (1, 3, 2)]
)
def test_the_middle_is_that_of_the_stages_with_a_partner(made_up, ours, theirs, chosen):
    student, teacher = made_up(0, sides=(2,) * ours), made_up(1, sides=(2,) * theirs)
    (regressor,) = learner_of(FitNet(), student, teacher).regressors
    assert regressor.layers[0].out_channels == teacher.feature_maps[f"stage{chosen}"].shape[1]


def test_a_student_that_equals_its_teacher_has_nothing_to_learn(made_up):
    student = made_up(0)
    learner = learner_of(FitNet(), student, student).eval()
    convolution, norm = learner.regressors[0].layers
    torch.nn.init.dirac_(convolution.weight)
    norm.eps = 0.0
    value = learner.terms(student, [made_up(0)], BATCH)["fitnet"]
    assert value.item() == pytest.approx(0, abs=1e-12)
    value.backward()
    assert all(parameter.grad.abs().max() < 1e-12 for parameter in learner.parameters())


def test_the_regressors_learn(made_up, trained):
    student, teacher = made_up(0), made_up(1, channels=3)
    torch.manual_seed(0)
    learner = learner_of(FitNet(), student, teacher)
    optimizer = torch.optim.SGD([*learner.parameters(), student.feature_maps["stage1"]], lr=1.0)
    values = trained(learner, optimizer, 60, student, teacher, BATCH)
    assert values[-1] < values[0] / 2


def test_the_function_computes_in_fp32(made_up):
    one = made_up(0, dtype=torch.bfloat16).feature_maps["stage0"]
    assert hint_loss(one, 3e4 * one) == hint_loss(one.float(), (3e4 * one).float())


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    student, teacher = torch.randn(2, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(hint_loss, (student, teacher))


def test_what_does_not_fit_is_named(made_up):
    student, teacher = made_up(0), made_up(1)
    with pytest.raises(UserError, match=r"\(2, 3, 4, 4\), the teacher's \(2, 5, 4, 4\)"):
        hint_loss(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        learner_of(FitNet(), student, ModelOutput(student.logits, student.embedding, {}))
    with pytest.raises(UserError, match="unknown stage of the student: 'stag1'"):
        learner_of(FitNet(maps=("stag1",)), student, teacher)
    with pytest.raises(UserError, match=r"FitNet.weight: .*; -1.0 was given"):
        FitNet(weight=-1.0)
