"""The sentences under "Persistence diagrams" in docs/conventions.md: each test holds that of its name."""

import math

import numpy as np
import pytest

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    columns,
    persistence_images,
    rows,
    scan_persistence_images,
    sublevel_persistence,
)


def bars(signal, **options):
    """The diagram of one signal as a sorted list of (birth, death)."""
    return sorted(map(tuple, sublevel_persistence(np.array(signal, np.float64), **options)[0].tolist()))


def positions(signal):
    """The same as indices."""
    return sorted(map(tuple, sublevel_persistence(np.array(signal, np.float64)).indices.tolist()))


def test_sublevel_sets():
    signal = [3.0, 1.0, 4.0, 0.0, 2.0]
    assert bars(signal) == [(1, 4)]
    assert bars(signal, superlevel=True) == [(2, 0), (3, 1)]


def test_elder_rule():
    assert bars([0.0, 5.0, 1.0]) == bars([1.0, 5.0, 0.0]) == [(1, 5)]
    # The younger of the last two dies at 3; the elder of them meets the global minimum at 4 and is young there.
    assert bars([0.0, 4.0, 2.0, 3.0, 1.0]) == [(1, 4), (2, 3)]


def test_ties_by_index():
    assert positions([1.0, 5.0, 1.0]) == [(2, 1)]
    assert positions([0.0, 5.0, 1.0, 1.0, 1.0, 5.0, 5.0, 0.0]) == [(2, 1), (7, 6)]
    assert positions([0.0, 3.0, 3.0, 3.0, 1.0]) == [(4, 3)]


def test_birth_then_death():
    found = sublevel_persistence(np.array([[50, 10, 200, 0]], np.uint8))
    assert (found.births.tolist(), found.deaths.tolist()) == ([10], [200])
    assert found.values.tolist() == [[10, 200]]
    points = [(0.1, 0.2), (0.05, 0.3), (0.2, 0.21)]
    settings = PersistenceImageConfig(min_persistence=0)
    one, other = (
        persistence_images(Diagrams.from_list([np.array(order)]), settings) for order in (points, points[::-1])
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_no_bars_of_length_zero():
    for signal in ([1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 2.0], [2.0, 1.0, 1.0, 0.0], [7.0]):
        assert bars(signal) == []
    assert bars([0.0, 1.0, 0.0, 0.0, 1.0]) == [(0, 1)]


def test_the_essential_class():
    signal = [3.0, 1.0, 4.0, 0.5]
    assert bars(signal) == [(1, 4)]
    assert bars(signal, essential=True) == [(0.5, math.inf), (1, 4)]
    assert bars(signal, essential=True, superlevel=True) == [(3, 1), (4, -math.inf)]
    found = sublevel_persistence(np.array([signal]), essential=True)
    assert found.finite().values.tolist() == [[1, 4]]
    assert sorted(found.cut(9.0).values.tolist()) == [[0.5, 9], [1, 4]]
    with pytest.raises(ValueError, match="drop classes that never die"):
        persistence_images(found, PersistenceImageConfig())


def test_rows_and_columns():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert rows(image).tolist() == [1, 2, 3, 4, 5, 6]
    assert columns(image).tolist() == [1, 4, 2, 5, 3, 6]


def test_non_finite_is_an_error():
    images = np.zeros((2, 3, 4, 4), np.float32)
    images[1, 2, 0, 3] = np.nan
    with pytest.raises(ValueError, match=r"images\[1, 2, 0, 3\] is nan"):
        scan_persistence_images(images, PersistenceImageConfig())
    with pytest.raises(ValueError, match=r"signals\[0, 1\] is inf"):
        sublevel_persistence(np.array([[0.0, np.inf]]))
