"""Functions of the topology engine on small random inputs, against GUDHI, SciPy and brute force.

Each function below makes inputs from a random number generator, compares, and returns how many inputs there were. All
cases have one shape, and so take a folder, which these do not need.
"""

import math
import random
from pathlib import Path
from typing import Any

import gudhi
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, minimum_spanning_tree
from scipy.spatial.distance import cdist

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    betti_curves,
    bottleneck,
    cubical_persistence,
    from_arrays,
    landscapes,
    mst_lengths,
    persistence_entropy,
    persistence_images,
    rips_persistence,
    sliced_wasserstein,
    sorted_lifetimes,
    sublevel_persistence,
    to_arrays,
    total_persistence,
    wasserstein,
)
from persistill.topology._reference.sublevel_1d import sublevel_pairs

_DTYPES = (np.uint8, np.float32, np.float64)


def _numbers(draw: random.Random, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Few different numbers, so that they tie, or many; large, small, negative."""
    numpy = np.random.default_rng(draw.getrandbits(32))
    levels = draw.choice((1, 2, 3, 9, 256))
    if dtype == np.uint8:
        return numpy.integers(0, levels, shape).astype(dtype)
    if draw.random() < 0.5:
        found = (numpy.integers(0, levels, shape) - levels // 2) * draw.choice((1.0, 0.125, -2.0))
    else:
        found = numpy.normal(0, 1, shape) * draw.choice((1.0, 1e-6, 1e6))
    return np.asarray(found.astype(dtype))


def signals(draw: random.Random, place: Path) -> int:
    """``sublevel_persistence``: every bar, by its samples, against a union of neighbors."""
    dtype, count, samples = draw.choice(_DTYPES), draw.choice((1, 3, 64)), draw.randint(1, 40)
    superlevel, least = draw.random() < 0.5, draw.choice((0.0, 0.0, 0.5, 2.0))
    batch = _numbers(draw, (count, samples), dtype)
    found = sublevel_persistence(batch, superlevel=superlevel, min_persistence=least, essential=True)
    assert found.indices is not None
    for number, signal in enumerate(batch):
        values = (-signal.astype(np.float64) if superlevel else signal.astype(np.float64)).tolist()
        exact = signal.astype(object) if dtype == np.uint8 else signal
        expected = {
            (b, d)
            for b, d in sublevel_pairs(values)
            if d < 0 or abs(exact[d] - exact[b]) > (dtype(least) if least else 0)
        }
        part = found.indices[found.offsets[number] : found.offsets[number + 1]]
        assert len(part) == len(expected)
        assert set(map(tuple, part.tolist())) == expected, (signal.tolist(), dtype, superlevel, least)
    return count


def images(draw: random.Random, place: Path) -> int:
    """``cubical_persistence``: both dimensions against GUDHI's cubical complexes."""
    dtype, count = draw.choice(_DTYPES), draw.choice((1, 8))
    shape = draw.randint(1, 9), draw.randint(1, 9)
    construction = draw.choice(("top_cells", "vertices"))
    batch = _numbers(draw, (count, *shape), dtype)
    found = cubical_persistence(batch, construction=construction, essential=True)
    for number, image in enumerate(batch):
        name = "top_dimensional_cells" if construction == "top_cells" else "vertices"
        complex_ = gudhi.CubicalComplex(**{name: image.astype(np.float64)})
        complex_.compute_persistence(homology_coeff_field=2, min_persistence=0)
        for dimension in (0, 1):
            theirs = np.asarray(complex_.persistence_intervals_in_dimension(dimension)).reshape(-1, 2)
            ours = found[dimension][number].astype(np.float64)
            np.testing.assert_array_equal(_sorted(ours), _sorted(theirs))
    return count


def _sorted(points: NDArray[Any]) -> NDArray[Any]:
    points = points[points[:, 0] != points[:, 1]]
    return points[np.lexsort(points.T)]


def clouds(draw: random.Random, place: Path) -> int:
    """``mst_lengths`` against SciPy, and ``rips_persistence`` against it and, for loops, against GUDHI."""
    dtype, count = draw.choice((np.float32, np.float64)), draw.choice((1, 6))
    points, width = draw.randint(1, 9), draw.choice((1, 2, 3, 17))
    batch = _numbers(draw, (count, points, width), dtype)
    lengths = mst_lengths(batch)
    loops = rips_persistence(batch, dimension=1, essential=True)
    components = rips_persistence(batch)
    for number, cloud in enumerate(batch.astype(np.float64)):
        distances = cdist(cloud, cloud)
        scale = float(distances.max()) or 1.0
        # SciPy takes 0 for no edge: all edges are moved up and back again.
        moved = minimum_spanning_tree(np.triu(distances + scale, 1)).toarray()
        expected = np.sort(moved[moved > 0] - scale)
        np.testing.assert_allclose(lengths[number], expected, rtol=1e-5, atol=2e-6 * scale)
        deaths = np.sort(components[number][:, 1])
        np.testing.assert_allclose(deaths, lengths[number][len(lengths[number]) - len(deaths) :], rtol=1e-6)
        complex_ = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(max_dimension=2)
        complex_.compute_persistence(homology_coeff_field=2, min_persistence=0)
        theirs = np.asarray(complex_.persistence_intervals_in_dimension(1)).reshape(-1, 2)
        near = 1e-5 * scale
        both = Diagrams.from_list([_long(loops[number].astype(np.float64), near), _long(theirs, near)])
        assert float(bottleneck(both[:1], both[1:])[0]) <= near
    return count


def _long(points: NDArray[Any], least: float) -> NDArray[Any]:
    return points[points[:, 1] - points[:, 0] > least]


def _diagram(draw: random.Random, most: int = 7) -> NDArray[np.float64]:
    points = _numbers(draw, (draw.randint(0, most), 2), np.float64)
    return np.sort(points, axis=1)


def distances(draw: random.Random, place: Path) -> int:
    """``bottleneck`` and ``wasserstein`` against whole assignments (GUDHI's own fail on ties and on tiny points)."""
    first, second = _diagram(draw), _diagram(draw)
    if draw.random() < 0.3 and len(first):
        second = first[np.random.default_rng(draw.getrandbits(32)).permutation(len(first))]
    one, other = Diagrams.from_list([first]), Diagrams.from_list([second])
    scale = max(1e-12, float(np.abs(np.concatenate([first, second, np.ones((1, 2)) * 1e-9])).max()))
    found = float(bottleneck(one, other)[0])
    np.testing.assert_allclose(found, _by_trial(first, second), rtol=1e-9, atol=1e-9 * scale)
    order, ground = draw.choice((1.0, 2.0)), draw.choice((2.0, math.inf))
    theirs = _by_assignment(first, second, order, ground)
    ours = float(wasserstein(one, other, order=order, ground=ground)[0])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6 * scale)
    assert float(sliced_wasserstein(one, other)[0]) >= 0
    return 1


def _costs(first: NDArray[Any], second: NDArray[Any], ground: float) -> NDArray[Any]:
    """Points of both are paired with each other, or with their nearest points on the diagonal."""
    n, m = len(first), len(second)
    costs = np.zeros((n + m, n + m))
    costs[:n, :m] = np.linalg.norm(first[:, None] - second[None], ord=ground, axis=2)
    costs[:n, m:] = np.linalg.norm(first - first.mean(1, keepdims=True), ord=ground, axis=1)[:, None]
    costs[n:, :m] = np.linalg.norm(second - second.mean(1, keepdims=True), ord=ground, axis=1)[None]
    return costs


def _by_assignment(first: NDArray[Any], second: NDArray[Any], order: float, ground: float) -> float:
    costs = _costs(first, second, ground) ** order
    return float(costs[linear_sum_assignment(costs)].sum() ** (1 / order))


def _by_trial(first: NDArray[Any], second: NDArray[Any]) -> float:
    """The least cost at which all points can be paired."""
    costs = _costs(first, second, math.inf)
    tried = np.unique(costs) if costs.size else np.zeros(1)
    low, high = 0, len(tried) - 1
    while low < high:
        middle = (low + high) // 2
        whole = (maximum_bipartite_matching(csr_array(costs <= tried[middle])) >= 0).all()
        low, high = (low, middle) if whole else (middle + 1, high)
    return float(tried[low])


def vectors(draw: random.Random, place: Path) -> int:
    """Curves, landscapes and sums against their definitions, bar by bar."""
    points = [_diagram(draw) for _ in range(draw.choice((1, 4)))]
    diagrams = Diagrams.from_list(points)
    grid = np.unique(_numbers(draw, (draw.randint(2, 6),), np.float64))
    curves, levels = betti_curves(diagrams, grid), draw.randint(1, 4)
    layers = landscapes(diagrams, grid, levels=levels)
    power = draw.choice((1.0, 2.0, 0.5))
    sums, longest = total_persistence(diagrams, power=power), sorted_lifetimes(diagrams, 3)
    entropies = persistence_entropy(diagrams)
    for number, diagram in enumerate(points):
        births, deaths = diagram.T
        lengths = deaths - births
        for step, at in enumerate(grid):
            assert curves[number, step] == ((births <= at) & (at < deaths)).sum()
            tents = np.sort(np.maximum(0, np.minimum(at - births, deaths - at)))[::-1]
            expected = np.pad(tents, (0, max(0, levels - len(tents))))[:levels]
            np.testing.assert_allclose(layers[number, :, step], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(sums[number], (lengths**power).sum(), rtol=1e-9, atol=1e-300)
        np.testing.assert_array_equal(longest[number], np.pad(np.sort(lengths)[::-1], (0, 3))[:3])
        shares = lengths[lengths > 0] / lengths.sum() if lengths.sum() > 0 else np.ones(1)
        np.testing.assert_allclose(entropies[number], -(shares * np.log(shares)).sum(), rtol=1e-6, atol=1e-9)
    return len(points)


def raster(draw: random.Random, place: Path) -> int:
    """``persistence_images`` against the integral of each Gaussian over each pixel."""
    diagram = np.sort(np.random.default_rng(draw.getrandbits(32)).random((draw.randint(0, 6), 2)), axis=1)
    config = PersistenceImageConfig(
        (draw.randint(1, 5), draw.randint(1, 5)),
        draw.choice((0.01, 0.1, 1.0)),
        (0.0, draw.choice((0.5, 1.0))),
        (0.0, 1.0),
        min_persistence=draw.choice((0.0, 0.1)),
        weight=draw.choice(("linear", "constant")),
        grid=draw.choice(("published", "tiled")),
        scaling="none",
    )
    (found,) = persistence_images(Diagrams.from_list([diagram]), config)
    expected = np.zeros(config.pixels)
    for birth, death in diagram:
        length = death - birth
        if length > config.min_persistence:
            weight = length if config.weight == "linear" else 1.0
            across = _shares(birth, *config.edges("births"), config.bandwidth)
            up = _shares(length, *config.edges("persistences"), config.bandwidth)
            expected += weight * np.outer(up[::-1], across)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    return 1


def _shares(at: float, low: NDArray[Any], high: NDArray[Any], bandwidth: float) -> NDArray[Any]:
    upper = [0.5 * (1 + math.erf((edge - at) / bandwidth / math.sqrt(2))) for edge in high]
    lower = [0.5 * (1 + math.erf((edge - at) / bandwidth / math.sqrt(2))) for edge in low]
    return np.array(upper) - np.array(lower)


def eight_bits(draw: random.Random, place: Path) -> int:
    """Whatever is computed of 8-bit diagrams is what it is of the same values / 255."""
    signal = _numbers(draw, (1, draw.randint(2, 30)), np.uint8)
    levels = sublevel_persistence(signal, essential=True).cut(draw.randint(0, 255))
    fractions = Diagrams(levels.values.astype(np.float64) / 255, levels.offsets)
    assert levels.scale == 255
    for function in (total_persistence, lambda d: sorted_lifetimes(d, 2), persistence_entropy):
        np.testing.assert_allclose(function(levels), function(fractions), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(wasserstein(levels, fractions), 0, atol=1e-6)
    back = from_arrays(to_arrays(levels))
    assert back.scale == 255
    np.testing.assert_array_equal(back.values, levels.values)
    return 1


CASES = {
    "signals": signals,
    "cubical images": images,
    "point clouds": clouds,
    "distances": distances,
    "vectors": vectors,
    "persistence images": raster,
    "8-bit diagrams": eight_bits,
}
