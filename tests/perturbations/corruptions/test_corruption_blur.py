"""The blurs, compared with SciPy and with loops over pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from persistill.perturbations.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import beyond, gaussian, zoomed


def draws_of(images):
    return Draws(5, "blur", 3, torch.arange(len(images)))


@pytest.mark.parametrize("edge", ["nearest", "mirror", "reflect"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_lies_beyond_the_edges_is_what_numpy_pads_with(edge, size):
    mode = {"nearest": "edge", "mirror": "reflect", "reflect": "symmetric"}[edge]
    row = np.arange(size)
    assert beyond(torch.arange(-12, size + 12), size, edge).tolist() == np.pad(row, 12, mode=mode).tolist()


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(0.01, 5),
    st.sampled_from(["nearest", "mirror", "reflect"]),
    st.sampled_from([3.0, 4.0]),
)
def test_gaussian_is_scipys(height, width, sigma, edge, truncate):
    images = np.random.default_rng(0).random((2, 3, height, width))
    found = gaussian(torch.from_numpy(images), sigma, edge, truncate)
    expected = ndimage.gaussian_filter(images, sigma, mode=edge, truncate=truncate, axes=(2, 3))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_gaussian_blur_scales_with_the_image(oblong):
    found = gaussian_blur(oblong, draws_of(oblong), 2.0, 0.8)
    np.testing.assert_allclose(found, ndimage.gaussian_filter(oblong, 1.6, mode="nearest", axes=(2, 3)), atol=1e-12)


@pytest.mark.parametrize(("radius", "alias"), [(0.3, 0.4), (0.5, 0.6), (1.5, 0.1), (4, 0.5), (8, 0.5), (10, 0.5)])
def test_defocus_blur_is_a_smoothed_disk(oblong, radius, alias):
    reach = 12
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (np.hypot(rows, columns) <= radius).astype(float)
    # 3 x 3 weights for small disks, 5 x 5 for large ones.
    disk = ndimage.gaussian_filter(disk / disk.sum(), alias, mode="mirror", radius=1 if radius <= 8 else 2)
    if radius in (8, 10):
        # The published kernel ends where the disk does, and its blur is mirrored there.
        end = int(radius)
        cut = (np.hypot(rows, columns) <= radius).astype(float)[reach - end : reach + end + 1]
        cut = cut[:, reach - end : reach + end + 1]
        disk = ndimage.gaussian_filter(cut / cut.sum(), alias, mode="mirror", radius=1 if radius <= 8 else 2)
    expected = ndimage.correlate(oblong.numpy(), disk[None, None], mode="mirror")
    np.testing.assert_allclose(defocus_blur(oblong, draws_of(oblong), 1.0, radius, alias), expected, atol=1e-9)


@pytest.mark.parametrize("angle", [-135.0, -90.0, -45.0, 0.0, 10.0, 45.0])
def test_motion_blur_is_imagemagicks(oblong, angle, monkeypatch):
    radius, sigma = 6, 2.5
    monkeypatch.setattr(Draws, "uniform", lambda *_: torch.full((2,), (angle + 45) / 90, dtype=torch.float64))
    levels = motion_blur(oblong, draws_of(oblong), 1.0, radius, sigma) * 255
    weights = [math.exp(-i * i / (2 * sigma**2)) for i in range(2 * radius + 1)]
    height, width = oblong.shape[-2:]
    for row, column in [(0, 0), (11, 20), (23, 39), (0, 39), (5, 3)]:
        total = np.zeros((2, 3))
        for i, weight in enumerate(weights):
            right = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
            down = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
            where = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
            total += weight * oblong[:, :, where[0], where[1]].numpy()
        exact = total / sum(weights) * 255
        np.testing.assert_allclose(levels[:, :, row, column], exact, atol=0.5 + 1e-9)
    np.testing.assert_allclose(levels, levels.round(), atol=1e-9)


def test_motion_blur_draws_an_angle_for_each_image(photographs):
    same = photographs[:1].expand(4, -1, -1, -1)
    blurred = motion_blur(same, draws_of(same), 1.0, 9, 2.5)
    assert all(not torch.equal(blurred[0], other) for other in blurred[1:])
    # Between -45 and 45 degrees a line along the rows is blurred less than one across them.
    lines = torch.zeros(20, 1, 33, 33, dtype=torch.float64)
    lines[:, :, 16] = 1
    along = motion_blur(lines, draws_of(lines), 1.0, 9, 2.5).amax((1, 2, 3))
    across = motion_blur(lines.mT.contiguous(), draws_of(lines), 1.0, 9, 2.5).amax((1, 2, 3))
    assert (along > across).float().mean() > 0.9


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.06, 1.13, 1.25, 2.25])
def test_zooms_are_scipys(photographs, factor):
    image = photographs[0].permute(1, 2, 0).numpy()
    side = math.ceil(32 / factor)
    top = (32 - side) // 2
    large = ndimage.zoom(image[top : top + side, top : top + side], (factor, factor, 1), order=1, mode="nearest")
    top = (len(large) - 32) // 2
    expected = large[top : top + 32, top : top + 32]
    np.testing.assert_allclose(zoomed(photographs[:1], factor)[0].permute(1, 2, 0), expected, atol=1e-12)


def test_zoom_blur_is_a_mean_that_counts_the_image_twice(oblong):
    expected = (2 * oblong + zoomed(oblong, 1.02) + zoomed(oblong, 1.04)) / 4
    np.testing.assert_allclose(zoom_blur(oblong, draws_of(oblong), 1.0, 1.05, 0.02), expected, atol=1e-12)


@pytest.mark.parametrize(("shift", "rounds"), [(1, 1), (1, 2), (2, 3), (4, 2)])
def test_glass_blur_copies_pixel_after_pixel(oblong, shift, rounds):
    draws = draws_of(oblong)
    found = glass_blur(oblong, draws, 1.0, 0.05, shift, rounds)
    height, width = oblong.shape[-2:]
    for number in range(len(oblong)):
        image = oblong[number].numpy().copy()
        for turn in range(rounds):
            offsets = draws.integers(f"round {turn}", -shift, shift, 2, height, width)[number].numpy()
            for h in range(height - shift, shift, -1):
                for w in range(width - shift, shift, -1):
                    dy, dx = offsets[:, h, w]
                    image[:, h, w] = image[:, h + dy, w + dx]
        np.testing.assert_allclose(found[number], image, atol=1e-12)


def test_glass_blur_copies_because_numpys_views_cannot_be_swapped():
    # The line of the published code, on an array like its own.
    x = np.arange(12.0).reshape(2, 2, 3)
    x[0, 0], x[1, 1] = x[1, 1], x[0, 0]
    assert np.array_equal(x[0, 0], [9, 10, 11])
    assert np.array_equal(x[1, 1], [9, 10, 11])


def test_glass_blur_blurs_before_and_after_and_cuts_off_in_between(photographs):
    found = glass_blur(photographs, draws_of(photographs), 1.0, 1.5, 4, 0)
    once = np.floor(ndimage.gaussian_filter(photographs, 1.5, mode="nearest", axes=(2, 3)) * 255) / 255
    twice = ndimage.gaussian_filter(once, 1.5, mode="nearest", axes=(2, 3))
    np.testing.assert_allclose(found, twice, atol=1e-9)
