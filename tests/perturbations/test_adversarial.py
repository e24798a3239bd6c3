"""FGSM and PGD where the best attack is known: linear networks, whose gradient is the same everywhere."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.errors import UserError
from persistill.perturbations import fgsm, pgd


class Linear:
    """Two classes, logits (w.x, 0)."""

    def __init__(self, seed=0):
        self.weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(seed))

    def __call__(self, images):
        first = (images * self.weight).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


def images(n=6, seed=1):
    return torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_a_linear_network_is_attacked_as_well_as_can_be(attack):
    network, x, target = Linear(), images(), torch.tensor([0, 1] * 3)
    # Class 0 is hurt by going against the weights, class 1 by going along with them; [0, 1] is not left.
    sign = torch.where(target == 0, -1.0, 1.0)[:, None, None, None] * network.weight.sign()
    best = (x + 0.1 * sign).clamp(0, 1)
    assert torch.allclose(attack(network, x, target, 0.1), best, atol=1e-6)


def test_the_gradient_goes_through_the_normalization():
    # Squares about 0.5 after normalization: the gradient's sign depends on where the mean is.
    def answer(x):
        first = ((x - 0.5) / 0.25).square().flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)

    x = torch.tensor([0.2, 0.8]).reshape(2, 1, 1, 1)
    changed = fgsm(answer, x, torch.tensor([1, 1]), 0.1)  # class 1 loses when the square grows
    assert torch.allclose(changed.flatten(), torch.tensor([0.1, 0.9]))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([fgsm, pgd]), st.floats(0, 1), st.integers(0, 1000))
def test_bounds_are_kept(attack, epsilon, seed):
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
    x = images(4, seed)
    changed = attack(layers, x, torch.tensor([0, 1, 2, 0]), epsilon)
    assert (changed - x).abs().max() <= epsilon + 1e-6
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not changed.requires_grad


def test_pgd_finds_what_one_step_misses():
    # The loss rises over the ridge at 0.5 + 0.04 in the other direction: a step of 0.1 from 0.5 overshoots the peak.
    def answer(x):
        first = -((x - 0.54).square()).flatten(1).sum(1) * 100
        return torch.stack([torch.zeros_like(first), first], 1)

    x, target = torch.full((1, 1, 2, 2), 0.5), torch.tensor([0])
    loss = [
        float(torch.nn.functional.cross_entropy(answer(attack(answer, x, target, 0.1)), target))
        for attack in (fgsm, pgd)
    ]
    peak = math.log(2)
    assert loss[0] < loss[1] <= peak
    assert loss[1] == pytest.approx(peak, abs=0.05)


def test_the_start_is_drawn_from_the_seed_and_steps_are_counted():
    calls = []

    def flat(x):  # without slope there is nowhere to go
        calls.append(1)
        return (x * 0).flatten(1)[:, :3]

    x, target = images(), torch.zeros(6, dtype=torch.int64)
    first = pgd(flat, x, target, 0.1, steps=4, seed=5)
    assert len(calls) == 4
    assert torch.equal(first, pgd(flat, x, target, 0.1, steps=4, seed=5))
    assert not torch.equal(first, pgd(flat, x, target, 0.1, steps=4, seed=6))
    assert not torch.equal(first, x)
    assert (first - x).abs().max() > 0.09
    assert torch.equal(fgsm(flat, x, target, 0.1), x)


def test_a_image_is_attacked_alike_whatever_stands_beside_it():
    layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
    x, target = images(5), torch.tensor([0, 1, 2, 0, 1])
    together = fgsm(layers, x, target, 0.1)
    assert torch.allclose(together[3:4], fgsm(layers, x[3:4], target[3:4], 0.1))


@pytest.mark.parametrize("attack", [fgsm, pgd])
@pytest.mark.parametrize("epsilon", [-0.1, 1.5, math.nan, 8])
def test_a_bound_that_is_none(attack, epsilon):
    with pytest.raises(UserError, match="from 0 to 1"):
        attack(Linear(), images(), torch.zeros(6, dtype=torch.int64), epsilon)
