"""Clouds on which spanning trees and Rips complexes go wrong, and oracles for them."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist, squareform

# Points of a small grid make coincident and collinear points and equal lengths likely.
GRID = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 3)),
    elements=st.integers(-2, 2).map(float),
)
# Random coordinates, all distances different.
SPREAD = st.builds(
    lambda n, d, seed: np.random.default_rng(seed).normal(size=(n, d)),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)


def hard_point_clouds():
    random = np.random.default_rng(3)
    angles = np.arange(12) * np.pi / 6
    normal = random.normal(size=(30, 4))
    return {
        "one point": normal[:1],
        "two points": normal[:2],
        "coincident": np.ones((9, 3)),
        "pairs of coincident points": np.repeat(normal[:7], 2, axis=0),
        "collinear": np.outer(np.array([3, -1, 7, 0, 2, 11, 5.0]), [1, 2, -2]),
        "collinear at equal steps": np.outer(np.arange(10.0), [3, 4]),
        "circle": np.stack([np.cos(angles), np.sin(angles)], 1),
        "grid": np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2),
        "simplex": np.eye(8),
        "cross polytope": np.concatenate([np.eye(5), -np.eye(5)]),
        "cube": np.stack(np.meshgrid(*[[0.0, 1.0]] * 4), -1).reshape(-1, 4),
        "two clusters": np.concatenate([normal, normal + 100]),
        "far from the origin": normal + 1e6,
        "tiny": normal * 1e-150,
        "huge": normal * 1e150,
        "one far point": np.concatenate([normal, [[1e30] * 4]]),
        "one coordinate": normal[:, :1],
        "no coordinate": normal[:6, :0],
        "131 points": random.normal(size=(131, 3)),
    }


def tree_lengths(cloud):
    """Sorted lengths of the minimum spanning tree, by SciPy in float64."""
    scale = 2.0 ** np.frexp(np.abs(cloud).max(initial=0))[1]
    return matrix_tree_lengths(cdist(cloud / scale, cloud / scale)) * scale if cloud.shape[1] else cloud.sum(1)[1:]


def matrix_tree_lengths(distances):
    # Zeros mean "no edge" to SciPy. Ranks order the edges as lengths do, and may all be raised.
    n = len(distances)
    upper = np.triu_indices(n, 1)
    values, ranks = np.unique(distances[upper], return_inverse=True)
    matrix = np.zeros((n, n))
    matrix[upper] = ranks + 1
    return values[np.sort(minimum_spanning_tree(matrix).data).astype(int) - 1] if n > 1 else np.empty(0)


def random_distances(random, n):
    """Symmetric, positive, and not obeying the triangle inequality."""
    return squareform(random.uniform(0.1, 1, n * (n - 1) // 2))


def bars(diagram):
    """The finite and infinite bars in a canonical order, those of no length left out."""
    kept = diagram[diagram[:, 1] > diagram[:, 0]]
    return kept[np.lexsort(kept.T[::-1])]
