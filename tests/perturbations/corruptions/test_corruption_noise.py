"""The noises: distributions by SciPy, strengths by their definition."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from persistill.perturbations.corruptions import corrupt
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.noise import (
    _poisson,
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from persistill.perturbations.corruptions.registry import TABLE

GRAY = torch.full((6, 3, 64, 64), 128 / 255, dtype=torch.float64)


@pytest.fixture
def draws():
    return Draws(0, "noise", 1, torch.arange(6))


@pytest.mark.parametrize("std", [0.04, 0.38])
def test_gaussian_noise(draws, std):
    added = (gaussian_noise(GRAY, draws, 1.0, std) - GRAY).numpy()
    assert stats.kstest(added.ravel() / std, "norm").pvalue > 1e-3
    # Channels have noise of their own.
    assert abs(np.corrcoef(added[:, 0].ravel(), added[:, 1].ravel())[0, 1]) < 0.03


def test_speckle_noise_is_as_strong_as_the_image_is_bright(draws):
    for level in (0.0, 0.25, 1.0):
        noisy = speckle_noise(torch.full_like(GRAY, level), draws, 1.0, 0.2)
        assert float((noisy - level).std()) == pytest.approx(0.2 * level, rel=0.02)


def test_impulse_noise(draws):
    noisy = impulse_noise(GRAY, draws, 1.0, 0.27).numpy()
    n = noisy.size
    for value in (0.0, 1.0):
        assert (noisy == value).mean() == pytest.approx(0.135, abs=4 * math.sqrt(0.135 / n))
    assert ((noisy == 0) | (noisy == 1) | (noisy == 128 / 255)).all()
    # Channel by channel, not pixel by pixel.
    hit = noisy != 128 / 255
    assert hit.all(axis=1).mean() == pytest.approx(0.27**3, abs=0.005)


@pytest.mark.parametrize("rate", [500, 75, 12, 3])
def test_shot_noise_looks_up_the_quantiles_of_poissons_distribution(rate):
    first, cumulative = _poisson(rate)
    means = np.arange(256) * rate / 255
    for chance in (2**-25, 1e-4, 0.2, 0.5, 0.777, 0.9999, 1 - 2**-25):
        found = first + (cumulative < chance).sum(1)
        assert np.array_equal(found.numpy(), stats.poisson.ppf(chance, means))


@pytest.mark.parametrize("rate", [500, 25, 3])
def test_shot_noise_is_the_quantile_of_each_value(rate, photographs):
    draws = Draws(1, "shot", 1, torch.arange(4))
    chance = draws.uniform("photons", 3, 32, 32).numpy()
    expected = stats.poisson.ppf(chance, photographs.numpy() * rate) / rate
    found = shot_noise(photographs, draws, 1.0, rate).numpy()
    # The mean of a level, 200 / 255 * 75 say, may be rounded either way, and with it a quantile once in a while.
    assert (np.abs(found - expected) > 1e-9).mean() < 1e-3
    assert np.abs(found - expected).max() <= 1 / rate + 1e-9


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
@pytest.mark.parametrize("side", [32, 224])
def test_strength_grows_with_severity(name, side):
    gray = torch.full((1, 3, side, side), 0.5)
    far = [float((corrupt(gray, name, s, 0, torch.tensor([0])) - gray).pow(2).mean()) for s in (1, 2, 3, 4, 5)]
    assert far == sorted(far)
    assert far[4] > 2 * far[0]


def test_published_strengths():
    assert [p for (p,) in TABLE["gaussian_noise"].small] == [0.04, 0.06, 0.08, 0.09, 0.10]
    assert [p for (p,) in TABLE["gaussian_noise"].large] == [0.08, 0.12, 0.18, 0.26, 0.38]
