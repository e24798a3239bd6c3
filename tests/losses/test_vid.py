"""VID: against the density of another library, by hand, at its least value, at the edges, and as it learns."""

import math

import pytest
import torch
import torch.nn.functional as F

from persistill.errors import UserError
from persistill.losses import VID, MethodContext, gaussian_nll
from persistill.structures import Batch, ModelOutput

BATCH = Batch({}, torch.zeros(4, dtype=torch.long), torch.arange(4))


def density(mean, variance, teacher):
    """The same by torch's own normal distribution, one channel after another."""
    total = 0.0
    for channel, width in enumerate(variance):
        normal = torch.distributions.Normal(mean[:, channel], width.sqrt())
        total -= (normal.log_prob(teacher[:, channel]) + math.log(2 * math.pi) / 2).sum().item()
    return total / mean.numel()


def learner_of(student, teacher):
    return VID().build(MethodContext(student, [teacher], BATCH.target)).double()


def test_function_is_a_density_and_by_hand():
    torch.manual_seed(0)
    mean, teacher = torch.randn(2, 3, 4, 5, 2, dtype=torch.float64)
    variance = torch.rand(4, dtype=torch.float64) + 0.1
    assert gaussian_nll(mean, variance, teacher).item() == pytest.approx(density(mean, variance, teacher))
    # Differences 2 and 0, variances 1 and e: (4 / 1 + 0) / 2 and (0 + 1) / 2.
    mean, teacher = torch.tensor([[[[2.0]], [[7.0]]]]), torch.tensor([[[[0.0]], [[7.0]]]])
    assert gaussian_nll(mean, torch.tensor([1.0, math.e]), teacher).item() == pytest.approx(1.25)


def test_it_is_least_at_the_teachers_map_and_at_the_spread_of_what_is_missed():
    torch.manual_seed(1)
    teacher = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    mean, variance = teacher.clone().requires_grad_(), torch.tensor([0.3, 2.0], dtype=torch.float64)
    value = gaussian_nll(mean, variance, teacher)
    assert value.item() == pytest.approx(variance.log().mean().item() / 2)
    value.backward()
    assert mean.grad.eq(0).all()
    off = teacher + torch.randn_like(teacher)
    best = (off - teacher).square().mean((0, 2, 3)).requires_grad_()
    value = gaussian_nll(off, best, teacher)
    value.backward()
    torch.testing.assert_close(best.grad, torch.zeros_like(best))
    for factor in (0.9, 1.1):
        assert gaussian_nll(off, factor * best, teacher) > value


def test_term_is_the_sum_over_stages(made_up):
    student, teacher = made_up(0), made_up(1, channels=3, sides=(7, 3, 1))
    method = VID(weight=5.0)
    learner = learner_of(student, teacher)
    found = learner.terms(student, [teacher, made_up(2)], BATCH)
    assert method.weights == {"vid": 5.0}
    assert list(found) == ["vid"]
    assert method.num_teachers == 1
    expected = 0.0
    for stage, predictor in zip(student.feature_maps, learner.predictors, strict=True):
        size = [
            min(a, b)
            for a, b in zip(student.feature_maps[stage].shape[2:], teacher.feature_maps[stage].shape[2:], strict=True)
        ]
        mean = F.adaptive_avg_pool2d(student.feature_maps[stage], size)
        for position, weight in enumerate(predictor.mean.parameters()):
            mean = torch.einsum("dc,bchw->bdhw", weight[:, :, 0, 0], mean if position == 0 else mean.clamp(min=0))
        variance = torch.full((teacher.feature_maps[stage].shape[1],), 5.0, dtype=torch.float64)
        expected += density(mean, variance, F.adaptive_avg_pool2d(teacher.feature_maps[stage], size))
    assert found["vid"].item() == pytest.approx(expected, rel=1e-6)


def test_the_variance_starts_at_five_and_stays_above_its_least(made_up):
    features = made_up(0)
    predictor = learner_of(features, features).predictors[0]
    torch.testing.assert_close(
        predictor(features.feature_maps["stage0"])[1], torch.full((2,), 5.0, dtype=torch.float64)
    )
    for spread, variance in ((-1e4, 1e-5), (1e4, 1e4)):  # the logarithm of one and a power would overflow
        torch.nn.init.constant_(predictor.spread, spread)
        found = predictor(features.feature_maps["stage0"])[1]
        assert found.tolist() == pytest.approx([variance] * 2)
    found.sum().backward()
    assert predictor.spread.grad.isfinite().all()


def test_the_predictors_learn(made_up, trained):
    student, teacher = made_up(0), made_up(1, channels=3)
    torch.manual_seed(0)
    learner = learner_of(student, teacher)
    optimizer = torch.optim.Adam([*learner.parameters(), *student.feature_maps.values()], lr=0.1)
    values = trained(learner, optimizer, 40, student, teacher, BATCH)
    assert values[-1] < values[0] - 1
    for stage, predictor in zip(student.feature_maps.values(), learner.predictors, strict=True):
        assert (predictor(stage)[1] < 4).all()


def test_the_function_computes_in_fp32(made_up):
    one, variance = made_up(0, dtype=torch.bfloat16).feature_maps["stage0"], torch.tensor([0.3, 2.0]).bfloat16()
    expected = gaussian_nll(one.float(), variance.float(), (one**2).float())
    assert gaussian_nll(one, variance, one**2) == expected


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(3)
    mean, teacher = torch.randn(2, 2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    variance = (torch.rand(3, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_nll, (mean, variance, teacher))


def test_what_does_not_fit_is_named(made_up):
    student = made_up(0)
    with pytest.raises(UserError, match="the teacher returns 0 of them, the student 3"):
        learner_of(student, ModelOutput(student.logits, student.embedding, {}))
    with pytest.raises(UserError, match=r"VID.weight: .*; -1.0 was given"):
        VID(weight=-1.0)
