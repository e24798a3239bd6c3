"""Spatter, each step compared with SciPy or with loops over pixels."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.spatter import _distance, _equalized, _outlines, _relief, spatter

WATER = np.array([175, 238, 238])[:, None, None] / 255
MUD = np.array([63, 42, 20])[:, None, None] / 255


@pytest.fixture(scope="module")
def levels():
    """(6, 1, 30, 40) float64: drops, as they come."""
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(0.65, 0.3, (6, 30, 40)), (0, 1, 1))
    noise[5, :, 8:] = 0  # most of it is far away from any drop
    return torch.from_numpy(np.floor(np.clip(np.where(noise < 0.69, 0, noise), 0, 1) * 255))[:, None]


def canny(image, weak=50, strong=150):
    """Canny's edges as OpenCV's documentation and code define them, pixel after pixel."""
    height, width = image.shape
    along = ndimage.sobel(image, 1, mode="nearest")
    down = ndimage.sobel(image, 0, mode="nearest")
    size = np.pad(abs(along) + abs(down), 1)
    candidates, strongs = set(), []
    for y in range(height):
        for x in range(width):
            m = size[y + 1, x + 1]
            if m <= weak:
                continue
            angle = math.degrees(math.atan2(abs(down[y, x]), abs(along[y, x])))
            if angle < 22.5:
                peak = m > size[y + 1, x] and m >= size[y + 1, x + 2]
            elif angle > 67.5:
                peak = m > size[y, x + 1] and m >= size[y + 2, x + 1]
            else:
                s = -1 if along[y, x] * down[y, x] < 0 else 1
                peak = m > size[y, x + 1 - s] and m > size[y + 2, x + 1 + s]
            if peak:
                candidates.add((y, x))
                if m > strong:
                    strongs.append((y, x))
    edges = np.zeros(image.shape, dtype=bool)
    while strongs:
        y, x = strongs.pop()
        if not edges[y, x]:
            edges[y, x] = True
            near = {(y + j, x + i) for j in (-1, 0, 1) for i in (-1, 0, 1)}
            strongs.extend(near & candidates)
    return edges


def test_outlines_are_cannys(levels):
    found = _outlines(levels)[:, 0].numpy()
    assert found.any()
    for image, edges in zip(levels[:, 0].numpy(), found, strict=True):
        assert np.array_equal(edges, canny(image))


def test_weak_edges_count_where_they_lead_to_strong_ones():
    ramp = torch.zeros(1, 1, 12, 12, dtype=torch.float64)
    ramp[..., 6:] = torch.linspace(4, 60, 12, dtype=torch.float64)[:, None].floor()
    # Down the border between the two halves, the gradient grows from about 20 to 240.
    edge = _outlines(ramp)[0, 0].any(1)
    assert not edge[:1].any()
    assert edge[4:].all()


def test_distance_is_euclidean_up_to_twenty(levels):
    edge = torch.zeros(3, 1, 40, 60, dtype=torch.bool)
    edge[0, 0, 5, 7] = edge[1, 0, 39, 59] = edge[1, 0, 0, 30] = True
    edge[2] = _outlines(levels)[0, 0].any()  # every pixel is an edge
    found = _distance(edge).clamp_max(20)
    for number in range(3):
        expected = ndimage.distance_transform_edt(~edge[number, 0].numpy())
        np.testing.assert_allclose(found[number, 0], np.minimum(expected, 20), atol=1e-9)
    assert (_distance(torch.zeros(1, 1, 5, 5, dtype=torch.bool)) == math.inf).all()


def test_equalized_levels_have_an_even_histogram(levels):
    found = _equalized(levels)[:, 0].numpy()
    for before, after in zip(levels[:, 0].numpy(), found, strict=True):
        darkest = (before == before.min()).sum()
        share = np.array([[(before <= value).sum() for value in row] for row in before]) - darkest
        np.testing.assert_allclose(after, share * 255 / (before.size - darkest), atol=0.5 + 1e-9)
    flat = torch.full((1, 1, 4, 4), 20.0, dtype=torch.float64)
    assert torch.equal(_equalized(flat), flat)


def test_relief_is_made_of_these_steps(levels):
    expected = []
    for image in levels[:, 0].numpy():
        far = np.minimum(ndimage.distance_transform_edt(~canny(image)), 20)
        far = np.floor(ndimage.uniform_filter(far, 3, mode="mirror") + 1e-6)
        even = _equalized(torch.from_numpy(far)[None, None])[0, 0].numpy()
        kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
        raised = np.clip(ndimage.correlate(even, kernel, mode="mirror"), 0, 255)
        expected.append(ndimage.uniform_filter(raised, 3, mode="mirror"))
    np.testing.assert_allclose(_relief(levels)[:, 0], expected, atol=0.5 + 1e-6)


def liquid(draws, shape, mean, std, sigma):
    noise = mean + std * draws.normal("liquid", 1, *shape).numpy()
    return ndimage.gaussian_filter(noise, sigma, mode="nearest", axes=(2, 3))


def test_water_is_added_turquoise_and_brightest_at_its_weight(photographs):
    draws = Draws(5, "spatter", 3, torch.arange(4))
    layer = liquid(draws, (32, 32), 0.65, 0.3, 1)
    levels = torch.from_numpy(np.floor(np.clip(np.where(layer < 0.69, 0, layer), 0, 1) * 255))
    shaded = levels * _relief(levels)
    share = (shaded / shaded.amax((1, 2, 3), keepdim=True)).numpy()
    found = spatter(photographs, draws, 1.0, 0.65, 0.3, 1, 0.69, 0.5, mud=False)
    np.testing.assert_allclose(found, photographs.numpy() + 0.5 * share * WATER, atol=1e-9)


def test_no_water_changes_nothing(photographs):
    dry = spatter(photographs, Draws(0, "spatter", 1, torch.arange(4)), 1.0, 0.0, 0.01, 1, 0.69, 0.5, mud=False)
    assert torch.equal(dry, photographs)


def test_mud_covers(photographs):
    draws = Draws(5, "spatter", 4, torch.arange(4))
    found = spatter(photographs, draws, 1.0, 0.65, 0.1, 0.7, 0.69, 0.6, mud=True)
    cover = (liquid(draws, (32, 32), 0.65, 0.1, 0.7) > 0.69).astype(float)
    cover = ndimage.gaussian_filter(cover, 0.6, mode="nearest", axes=(2, 3))
    cover[cover < 0.8] = 0
    np.testing.assert_allclose(found, photographs.numpy() * (1 - cover) + cover * MUD, atol=1e-9)
    assert 0 < (cover > 0).mean() < 0.5


def test_spatter_on_gray_images_is_gray(photographs):
    gray = photographs[:, :1]
    draws = Draws(5, "spatter", 4, torch.arange(4))
    found = spatter(gray, draws, 1.0, 0.65, 0.1, 0.7, 0.69, 0.6, mud=True)
    colors = spatter(gray.expand(-1, 3, -1, -1), draws, 1.0, 0.65, 0.1, 0.7, 0.69, 0.6, mud=True)
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]
    np.testing.assert_allclose(found[:, 0], (colors * weights).sum(1), atol=1e-9)
