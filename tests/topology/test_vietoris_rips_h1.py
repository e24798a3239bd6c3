import gudhi
import numpy as np
import pytest
import torch
from hard_point_clouds import GRID, SPREAD, bars, hard_point_clouds, random_distances
from hypothesis import given, settings
from hypothesis import strategies as st
from ripser import ripser
from scipy.spatial.distance import cdist

from persistill.topology._numba.vietoris_rips_h1 import bytes_needed
from persistill.topology._reference.vietoris_rips import rips_pairs
from persistill.topology.homology.vietoris_rips import rips_persistence

HARD = hard_point_clouds()
SIZES = [(4, 2), (17, 3), (64, 2), (65, 64), (130, 3)]


def gudhi_loops(distances, threshold=np.inf):
    tree = gudhi.RipsComplex(distance_matrix=distances, max_edge_length=threshold).create_simplex_tree(2)
    tree.compute_persistence(persistence_dim_max=True)  # also where there is no triangle
    return bars(tree.persistence_intervals_in_dimension(1).reshape(-1, 2))


def bipartite(n):
    """Distances of two sides of n points each, which lie close to the other side only: (n - 1)^2 loops at once."""
    distances = np.random.default_rng(0).uniform(3, 4, size=(2 * n, 2 * n))
    distances[:n, n:] = np.random.default_rng(1).uniform(1, 2, size=(n, n))
    upper = np.triu(distances, 1)
    return upper + upper.T


@pytest.mark.parametrize("name", [name for name in HARD if name != "no coordinate"])
def test_hard_clouds_agree_with_gudhi(name):
    cloud = HARD[name]
    scale = 2.0 ** np.frexp(np.abs(cloud).max())[1]
    expected = gudhi_loops(cdist(cloud / scale, cloud / scale)) * scale
    found = bars(rips_persistence(cloud, dimension=1)[0])
    long = expected[expected[:, 1] - expected[:, 0] > 1e-9 * scale]  # SciPy's distances are not all as equal as ours
    found = found[found[:, 1] - found[:, 0] > 1e-9 * scale]
    np.testing.assert_allclose(found, long, rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), SIZES)
def test_random_clouds_agree_with_ripser(n, d):
    clouds = np.random.default_rng(n).uniform(size=(2, n, d)).astype(np.float32)
    found = rips_persistence(clouds, dimension=1)
    for cloud, diagram in zip(clouds, found, strict=True):
        expected = bars(ripser(cloud.astype(np.float64), maxdim=1)["dgms"][1])
        np.testing.assert_allclose(bars(diagram), expected, rtol=1e-6)


@settings(deadline=None, max_examples=100)
@given(GRID | SPREAD)
def test_every_pair_of_edges_agrees_with_a_reduced_matrix(cloud):
    squares = cdist(cloud, cloud, "sqeuclidean")
    n = len(cloud)
    found = rips_persistence(cloud, dimension=1)
    expected = {
        (birth[0] * n + birth[1], death[0] * n + death[1])
        for birth, death in rips_pairs(squares.tolist(), 1)
        if squares[death] > squares[birth] * (1 + 1e-12)
    }
    assert set(map(tuple, found.indices.tolist())) == expected
    assert len(found.indices) == len(expected)
    np.testing.assert_allclose(found.values, np.sqrt(squares.reshape(-1)[found.indices]), rtol=1e-12)
    assert found.dimension == 1


@settings(deadline=None, max_examples=60)
@given(st.integers(4, 11), st.integers(0, 2**32 - 1), st.booleans(), st.floats(0.1, 1))
def test_distances_that_are_no_metric(n, seed, rounded, threshold):
    distances = random_distances(np.random.default_rng(seed), n)
    distances = distances.round(1) if rounded else distances
    np.testing.assert_array_equal(
        bars(rips_persistence(distances, dimension=1, distances=True)[0]), gudhi_loops(distances)
    )
    cut = rips_persistence(distances, dimension=1, distances=True, threshold=threshold, essential=True)
    np.testing.assert_array_equal(bars(cut[0]), gudhi_loops(distances, threshold))


def test_a_square_by_hand_with_its_gradient():
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    found = rips_persistence(points, dimension=1)
    np.testing.assert_allclose(found.values.detach(), [[2, 5**0.5]])
    # The loop closes with the second long side, and the first diagonal fills both of its halves.
    assert found.indices.tolist() == [[2 * 4 + 3, 0 * 4 + 2]]
    found.deaths.sum().backward()
    root = 5**-0.5
    np.testing.assert_allclose(points.grad, [[-2 * root, -root], [0, 0], [2 * root, root], [0, 0]])


def test_gradients_agree_with_finite_differences():
    random = np.random.default_rng(1)
    points = torch.from_numpy(HARD["circle"] + 0.1 * random.normal(size=(2, 12, 2))).requires_grad_()
    assert len(rips_persistence(points, dimension=1).values) == 2
    assert torch.autograd.gradcheck(lambda x: rips_persistence(x, dimension=1).values, points)
    distances = torch.cdist(points, points).detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: rips_persistence((x + x.mT) / 2, dimension=1, distances=True).values, distances
    )


def test_loops_that_a_threshold_leaves_open():
    cloud = HARD["circle"]
    side, closed = 2 * np.sin(np.pi / 12), rips_persistence(cloud, dimension=1)[0]
    np.testing.assert_allclose(closed, [[side, 3**0.5]])
    found = rips_persistence(cloud, dimension=1, threshold=1.7, essential=True)
    np.testing.assert_allclose(found[0], [[side, np.inf]])
    assert found.indices[0, 1] == -1
    assert len(rips_persistence(cloud, dimension=1, threshold=1.7).values) == 0
    tensor = torch.from_numpy(cloud).requires_grad_()
    open_loops = rips_persistence(tensor, dimension=1, threshold=1.7, essential=True)
    open_loops.births.sum().backward()
    assert tensor.grad.isfinite().all()
    assert tensor.grad.any()


def test_an_edge_as_long_as_the_threshold_enters():
    cloud = np.array([[0, 0], [0.3, 0], [0.3, 0.1], [0, 0.1]], np.float32)
    for threshold in (0.3, float(np.float32(0.3))):
        found = rips_persistence(cloud, dimension=1, threshold=threshold, essential=True)
        np.testing.assert_array_equal(found.values, np.array([[0.3, np.inf]], np.float32))


@pytest.mark.parametrize("n", [9, 13, 20])
def test_more_than_63_loops_at_once(n):
    distances = bipartite(n)
    found = bars(rips_persistence(distances, dimension=1, distances=True)[0])
    assert len(found) == (n - 1) ** 2
    expected = bars(ripser(distances, maxdim=1, distance_matrix=True)["dgms"][1])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    left = rips_persistence(distances, dimension=1, distances=True, threshold=2.5, essential=True)
    assert len(left.values) == (n - 1) ** 2
    assert np.isinf(left.deaths).all()


def test_memory_is_estimated_and_refused_before_it_is_taken():
    cloud = np.zeros((2, 20000, 2), np.float32)
    with pytest.raises(ValueError, match=r"H1 of 20000 points would take about 8 GB .* allows 2 GB"):
        rips_persistence(cloud, dimension=1)
    rips_persistence(cloud[:, :50], dimension=1, threads=2, max_memory=bytes_needed(50, 4))
    with pytest.raises(ValueError, match="H1 of 50 points"):
        rips_persistence(cloud[:, :50], dimension=1, max_memory=bytes_needed(50, 4) - 1)


def test_too_many_loops_at_once_are_refused():
    distances = np.stack([bipartite(5).repeat(4, 0).repeat(4, 1), bipartite(20)])
    enough = bytes_needed(40, 8, 3 * 4)
    assert len(rips_persistence(distances, dimension=1, distances=True, threads=1, max_memory=enough)[1]) == 361
    with pytest.raises(ValueError, match=r"cloud 1 of 40 points has more than 252 loops open at once.* threshold"):
        rips_persistence(distances, dimension=1, distances=True, threads=1, max_memory=enough - 1)
    few = rips_persistence(distances, dimension=1, distances=True, threads=1, max_memory=enough - 1, threshold=1.2)
    assert len(few) == 2
