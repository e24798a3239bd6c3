"""Gaussian noise: its strength, its range, and that it is the same for everybody."""

import math

import numpy as np
import pytest
import torch

from persistill.errors import UserError
from persistill.perturbations import gaussian_noise


def test_strength_and_shape_of_the_noise():
    # Half-gray images are twelve sigma away from clamping.
    added = gaussian_noise(0.04, seed=0)(torch.full((40, 3, 32, 32), 0.5), 0).numpy().astype(np.float64) - 0.5
    n = added.size
    assert abs(added.mean()) < 4 * 0.04 / math.sqrt(n)
    assert added.std() == pytest.approx(0.04, rel=4 / math.sqrt(2 * n))
    share = (np.abs(added) < 0.04).mean()
    assert share == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.01)
    # Neither images nor channels share their noise.
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(added[:, 0].ravel(), added[:, 1].ravel())[0, 1]) < 0.03


def test_noise_is_clamped_to_the_range_of_images():
    black, white = torch.zeros(4, 1, 16, 16), torch.ones(4, 1, 16, 16)
    noisy = gaussian_noise(0.1, 0)(black, 0)
    assert noisy.min() == 0
    assert 0.4 < float((noisy == 0).double().mean()) < 0.6
    # The mean of max(0, sigma * n) is sigma / sqrt(2 pi).
    assert float(noisy.mean()) == pytest.approx(0.1 / math.sqrt(2 * math.pi), rel=0.1)
    assert gaussian_noise(0.1, 0)(white, 0).max() == 1


def test_the_same_noise_for_the_same_seed_sigma_and_batch_only():
    pixels = torch.full((2, 3, 8, 8), 0.5)
    first = gaussian_noise(0.04, 7)(pixels, 3)
    torch.manual_seed(99)
    assert torch.equal(gaussian_noise(0.04, 7)(pixels, 3), first)
    draws = [gaussian_noise(s, seed)(pixels, b) for s, seed, b in [(0.04, 8, 3), (0.04, 7, 4), (0.08, 7, 3)]]
    for other in draws:
        assert abs(float(np.corrcoef(other.ravel(), first.ravel())[0, 1])) < 0.3
    # The draw is not taken from the global generator, which training depends on.
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    gaussian_noise(0.04, 7)(pixels, 3)
    assert torch.equal(torch.rand(1), expected)


def test_the_batch_size_is_part_of_the_definition():
    pixels = torch.full((4, 1, 8, 8), 0.5)
    noise = gaussian_noise(0.04, 0)
    whole = noise(pixels, 0)
    halves = torch.cat([noise(pixels[:2], 0), noise(pixels[2:], 1)])
    assert not torch.equal(whole, halves)


def test_images_given_are_untouched_and_their_type_is_kept():
    pixels = torch.rand(2, 3, 5, 5, dtype=torch.float64)
    before = pixels.clone()
    noisy = gaussian_noise(0.02, 0)(pixels, 0)
    assert torch.equal(pixels, before)
    assert (noisy.dtype, noisy.shape) == (pixels.dtype, pixels.shape)
    assert torch.equal(gaussian_noise(0.0, 0)(pixels, 0), pixels)


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_a_strength_that_makes_no_sense(sigma):
    with pytest.raises(UserError, match="sigma of the noise"):
        gaussian_noise(sigma, 0)
