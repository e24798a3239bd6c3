"""Random numbers: the published generator, the right distributions, and nothing shared between images."""

import numpy as np
import pytest
import torch
from scipy import stats

from persistill.perturbations.corruptions import counter_rng as module
from persistill.perturbations.corruptions.counter_rng import Draws

INDEX = torch.arange(40)


def test_bits_are_those_of_splitmix64():
    # The first numbers of Java's and Vigna's generators from the state 1234567.
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    states = torch.arange(1, 6) * module._STEP + 1234567
    assert [bits % 2**64 for bits in module._mix(states).tolist()] == known


def test_uniform_numbers():
    drawn = Draws(0, "a", 1, INDEX).uniform("x", 500).numpy()
    assert drawn.dtype == np.float64
    assert 0 < drawn.min() < 1e-3
    assert 1 > drawn.max() > 1 - 1e-3
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(drawn[:, lag:].ravel(), drawn[:, :-lag].ravel())[0, 1]) < 0.03


def test_normal_numbers():
    drawn = Draws(0, "a", 1, INDEX).normal("x", 3, 500).numpy()
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-3
    # The two of a pair are uncorrelated, and so are their squares.
    one, other = drawn.reshape(40, 2, 750).transpose(1, 0, 2).reshape(2, -1)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(one**2, other**2)[0, 1]) < 0.03


def test_integers_are_equally_likely():
    drawn = Draws(0, "a", 1, INDEX).integers("x", -2, 3, 400).numpy()
    assert stats.chisquare(np.bincount(drawn.ravel() + 2, minlength=5)).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_odd_counts_and_no_shape(kind):
    draws = Draws(0, "a", 1, INDEX)
    assert getattr(draws, kind)("x").shape == (40,)
    assert getattr(draws, kind)("x", 3, 5).shape == (40, 3, 5)


def test_every_part_of_the_purpose_counts_and_nothing_else():
    first = Draws(0, "a", 1, torch.tensor([5])).uniform("x", 2000)
    torch.manual_seed(1)
    batch = torch.tensor([9, 5, 2])
    assert torch.equal(Draws(0, "a", 1, batch).uniform("x", 2000)[1], first[0])
    others = [(1, "a", 1, 5, "x"), (0, "b", 1, 5, "x"), (0, "a", 2, 5, "x"), (0, "a", 1, 6, "x"), (0, "a", 1, 5, "y")]
    for seed, name, severity, index, stream in others:
        other = Draws(seed, name, severity, torch.tensor([index])).uniform(stream, 2000)
        assert abs(np.corrcoef(first.numpy(), other.numpy())[0, 1]) < 0.1
