"""The sentences under "Persistence images" in docs/conventions.md: each test holds that of its name."""

import numpy as np
import pytest

from persistill.data import PersistenceView
from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    columns,
    persistence_images,
    rows,
    scan_persistence_images,
    sublevel_persistence,
)


def diagram(*points):
    return Diagrams.from_list([np.array(points, np.float64)])


def plain(**changes):
    """Three by three pixels over births and persistences from 0 to 0.3, narrow Gaussians, intensities as they are."""
    settings = {"pixels": (3, 3), "bandwidth": 0.004, "min_persistence": 0.0, "grid": "tiled", "scaling": "none"}
    return PersistenceImageConfig(**{**settings, **changes})


def test_axes_of_persistence_images():
    # Birth 0.05 lies in the first column, persistence 0.25 in the uppermost row; and the other way round.
    early_and_long = persistence_images(diagram((0.05, 0.30)), plain())[0]
    assert np.argwhere(early_and_long > 0.01).tolist() == [[0, 0]]
    late_and_short = persistence_images(diagram((0.25, 0.30)), plain())[0]
    assert np.argwhere(late_and_short > 0.01).tolist() == [[2, 2]]


def test_weights_of_points():
    image = persistence_images(diagram((0.05, 0.30), (0.25, 0.30)), plain())[0]
    assert image[0, 0] == pytest.approx(0.25, rel=1e-5)
    assert image[2, 2] == pytest.approx(0.05, rel=1e-5)
    # Lifetimes of 0.25 and 0.125 are exact in binary.
    kept = persistence_images(
        diagram((0.0625, 0.1875), (0.0, 0.25)), plain(min_persistence=0.125, persistences=(0.0, 0.5))
    )[0]
    assert kept.sum() == pytest.approx(0.25 / 2, rel=1e-3)


def test_channels_scan_by_scan():
    images = np.random.default_rng(2).random((2, 3, 6, 5))
    settings = plain(births=(0.0, 1.0), persistences=(0.0, 1.0))
    found = scan_persistence_images(images, settings)
    assert found.shape == (2, 6, 3, 3)
    for channel in range(3):
        for number, scan in enumerate((rows, columns)):
            alone = persistence_images(sublevel_persistence(scan(images[:, channel])), settings)
            assert found[:, number * 3 + channel] == pytest.approx(alone, abs=1e-6)
    assert not np.allclose(found[:, :3], found[:, 3:])


def test_uint8_values():
    images = np.random.default_rng(3).integers(256, size=(2, 1, 6, 6), dtype=np.uint8)
    settings = plain(births=(0.0, 1.0), persistences=(0.0, 1.0))
    found = scan_persistence_images(images, settings)
    assert found == pytest.approx(scan_persistence_images(images / 255, settings), abs=1e-6)
    assert found.max() > 0.1


def test_published_settings():
    published = PersistenceImageConfig.tgd()
    assert published.pixels == (50, 50)
    assert published.bandwidth == 0.01
    assert published.births == published.persistences == (0.0, 0.3)
    assert published.min_persistence == 0.02
    assert (published.weight, published.scaling) == ("linear", "max")
    assert PersistenceView().vectorization(np.zeros((1, 1, 2, 2), np.uint8)) == published
    image = persistence_images(diagram((0.05, 0.25), (0.1, 0.2)), published)
    assert image.max() == 1
