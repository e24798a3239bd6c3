import math
from concurrent.futures import ThreadPoolExecutor

import gudhi
import numpy as np
import pytest
import torch
from hard_point_clouds import GRID, SPREAD, bars, hard_point_clouds, matrix_tree_lengths, random_distances, tree_lengths
from hypothesis import given, settings
from hypothesis import strategies as st
from ripser import ripser
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

from persistill.topology._reference.vietoris_rips import rips_pairs
from persistill.topology.homology.vietoris_rips import mst_lengths, rips_persistence

HARD = hard_point_clouds()


@pytest.mark.parametrize("name", HARD)
def test_hard_clouds_agree_with_scipy(name):
    cloud = HARD[name]
    np.testing.assert_allclose(mst_lengths(cloud), tree_lengths(cloud), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in HARD if name not in ("tiny", "huge")])
def test_hard_clouds_in_float32_are_as_good_as_their_rounding(name):
    cloud = HARD[name].astype(np.float32)
    found = mst_lengths(cloud)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tree_lengths(cloud.astype(np.float64)), rtol=3e-7)


@settings(deadline=None, max_examples=100)
@given(GRID | SPREAD)
def test_lengths_agree_with_scipy(cloud):
    np.testing.assert_allclose(mst_lengths(cloud), tree_lengths(cloud), rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 144, 300])
def test_every_size_fits_the_tiles(n):
    clouds = np.random.default_rng(n).normal(size=(2, n, 7))
    np.testing.assert_allclose(mst_lengths(clouds), [tree_lengths(cloud) for cloud in clouds], rtol=1e-12)


def test_large_clouds_whose_matrix_is_not_held():
    cloud = np.random.default_rng(0).normal(size=(1100, 3))
    np.testing.assert_allclose(mst_lengths(cloud), tree_lengths(cloud), rtol=1e-12)
    narrow = mst_lengths((cloud + 50).astype(np.float32))
    np.testing.assert_allclose(narrow, tree_lengths((cloud + 50).astype(np.float32).astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("offset", [10.0, 1e3, 1e5])
def test_far_from_the_origin_nothing_is_lost(offset):
    # Where a Gram matrix loses up to 3 % and more: trap 15 of the study.
    cloud = (offset + 0.1 * np.random.default_rng(1).normal(size=(64, 64))).astype(np.float32)
    exact = tree_lengths(cloud.astype(np.float64) - cloud[0].astype(np.float64))
    np.testing.assert_allclose(mst_lengths(cloud), exact, rtol=3e-7)
    loops = rips_persistence(cloud, dimension=1)
    expected = rips_persistence(cloud.astype(np.float64), dimension=1)
    np.testing.assert_allclose(bars(loops[0]), bars(expected[0]), rtol=3e-7)


@settings(deadline=None, max_examples=40)
@given(SPREAD, st.sampled_from([1e-38, 1e-30, 1e-19, 1e19, 1e30, 1e37]))
def test_scales_of_float32(cloud, scale):
    scaled = (cloud * scale).astype(np.float32)
    rounded = scaled.astype(np.float64)
    np.testing.assert_allclose(mst_lengths(scaled), tree_lengths(rounded), rtol=3e-7, atol=1e-44)
    loops = rips_persistence(scaled, dimension=1)[0]
    expected = rips_persistence(rounded, dimension=1)[0]
    long = expected[:, 1] - expected[:, 0] > 1e-5 * scale
    assert long.sum() <= len(loops)
    np.testing.assert_allclose(bars(loops).sum(0), bars(expected).sum(0), rtol=1e-4, atol=1e-44)


@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1e307])
def test_scales_of_float64(scale):
    cloud = np.random.default_rng(2).normal(size=(20, 3))
    np.testing.assert_allclose(mst_lengths(cloud * scale), tree_lengths(cloud) * scale, rtol=1e-12, atol=1e-320)
    there, here = (bars(rips_persistence(x, dimension=1)[0]) for x in (cloud * scale, cloud))
    np.testing.assert_allclose(there, here * scale, rtol=1e-12, atol=1e-320)


def test_points_beyond_what_lengths_can_hold_are_refused():
    with pytest.raises(ValueError, match="distances may be infinite in float32"):
        mst_lengths(np.full((3, 4), 3e38, np.float32))


@settings(deadline=None, max_examples=60)
@given(GRID | SPREAD, st.integers(0, 2**32 - 1))
def test_moving_turning_and_renumbering_change_nothing(cloud, seed):
    random = np.random.default_rng(seed)
    d = cloud.shape[1]
    turn = ortho_group.rvs(d, random_state=random) if d > 1 else -np.eye(1)
    moved = random.permutation(cloud) @ turn + random.normal(size=d)
    for dimension in (0, 1):
        one, other = (rips_persistence(x, dimension=dimension)[0] for x in (cloud, moved))
        assert gudhi.bottleneck_distance(one, other) < 1e-12
    np.testing.assert_allclose(mst_lengths(moved), mst_lengths(cloud), atol=1e-13)


@settings(deadline=None, max_examples=40)
@given(SPREAD, st.integers(-40, 40))
def test_scaling_scales_bars(cloud, exponent):
    for dimension in (0, 1):
        one, other = (rips_persistence(x, dimension=dimension) for x in (cloud, cloud * 2.0**exponent))
        np.testing.assert_array_equal(one.values * 2.0**exponent, other.values)
        np.testing.assert_array_equal(one.indices, other.indices)


@settings(deadline=None, max_examples=60)
@given(GRID | SPREAD, st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_diagrams_are_stable(cloud, size, seed):
    # A distance changes by at most the steps of its two ends: with diameters as values the constant is 2.
    steps = np.random.default_rng(seed).normal(size=cloud.shape)
    steps *= size / max(np.linalg.norm(steps, axis=1).max(), 1e-9)
    for dimension in (0, 1):
        one, other = (rips_persistence(x, dimension=dimension, essential=True)[0] for x in (cloud, cloud + steps))
        assert gudhi.bottleneck_distance(one, other) <= 2 * size + 1e-9


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 9), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_diagrams_of_distances_are_stable(n, size, seed):
    random = np.random.default_rng(seed)
    distances = random_distances(random, n)
    other = distances + random_distances(random, n) * size
    for dimension in (0, 1):
        diagrams = [
            rips_persistence(x, dimension=dimension, distances=True, essential=True)[0] for x in (distances, other)
        ]
        assert gudhi.bottleneck_distance(*diagrams) <= abs(distances - other).max() + 1e-9


@settings(deadline=None, max_examples=80)
@given(GRID | SPREAD)
def test_components_agree_with_a_reduced_matrix(cloud):
    n = len(cloud)
    distances = cdist(cloud, cloud)
    found = rips_persistence(cloud, essential=True)
    pairs = rips_pairs(distances.tolist(), 0)
    deaths = sorted(distances[death] for _, death in pairs if death and distances[death] > 0)
    np.testing.assert_allclose(found[0][:, 1], [*deaths, *[np.inf] * sum(d is None for _, d in pairs)], rtol=1e-12)
    assert not found[0][:, 0].any()
    births, ends = found.indices.T
    vertices, others = np.divmod(births, n)
    np.testing.assert_array_equal(vertices, others)
    np.testing.assert_allclose(distances.reshape(-1)[ends[:-1]], found[0][:-1, 1], rtol=1e-12)
    if len(np.unique(distances)) == n * (n - 1) // 2 + 1:
        expected = {(birth[0] * n + birth[0], death[0] * n + death[1] if death else -1) for birth, death in pairs}
        assert set(map(tuple, found.indices.tolist())) == expected


def test_components_agree_with_ripser_and_gudhi():
    cloud = np.random.default_rng(5).normal(size=(40, 6)).astype(np.float32)
    found = rips_persistence(cloud, essential=True)[0]
    np.testing.assert_allclose(bars(found), bars(ripser(cloud, maxdim=0)["dgms"][0]), rtol=1e-6)
    tree = gudhi.RipsComplex(points=cloud).create_simplex_tree(max_dimension=1)
    tree.compute_persistence(persistence_dim_max=False)
    np.testing.assert_allclose(bars(found), bars(tree.persistence_intervals_in_dimension(0)), rtol=1e-6)


def test_a_threshold_leaves_components_apart():
    cloud = np.array([[0.0], [0.3], [0.7], [2.0], [2.25]])
    found = rips_persistence(cloud, threshold=0.4, essential=True)
    np.testing.assert_allclose(bars(found[0])[:, 1], [0.25, 0.3, 0.4, np.inf, np.inf])
    np.testing.assert_array_equal(found.indices[-2:], [[0, -1], [3 * 6, -1]])
    assert len(rips_persistence(cloud, threshold=0.4).values) == 3
    assert len(rips_persistence(cloud, threshold=0.0).values) == 0
    narrow = rips_persistence(cloud.astype(np.float32)[:2], threshold=0.3)
    assert len(narrow.values) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    points = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    lengths = mst_lengths(points)
    assert lengths.dtype == wide
    np.testing.assert_allclose(lengths.detach(), mst_lengths(points.detach().double()), rtol=3e-7)
    (gradient,) = torch.autograd.grad(lengths.sum(), points)
    assert gradient.dtype == dtype
    assert rips_persistence(points, dimension=1).values.dtype == wide


def test_arrays_give_arrays_and_tensors_tensors_in_any_layout():
    clouds = np.random.default_rng(0).normal(size=(5, 9, 2, 3))
    array = clouds.transpose(2, 0, 1, 3)
    expected = np.array([[tree_lengths(cloud) for cloud in batch] for batch in array])
    assert isinstance(mst_lengths(array), np.ndarray)
    np.testing.assert_allclose(mst_lengths(array), expected)
    tensor = torch.from_numpy(array)
    assert not tensor.is_contiguous()
    np.testing.assert_allclose(mst_lengths(tensor).numpy(), expected)
    found = rips_persistence(tensor)
    assert isinstance(found.values, torch.Tensor)
    assert found.shape == (2, 5)
    np.testing.assert_allclose(found[1, 3][:, 1], expected[1, 3])
    np.testing.assert_array_equal(rips_persistence(array).indices, found.indices.numpy())
    negative = np.random.default_rng(0).normal(size=(9, 4))[::-1, ::-2]
    np.testing.assert_allclose(mst_lengths(negative), tree_lengths(negative))


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 1, 3), (4, 5, 0), (4, 2, 3), (0, 0, 0), (5, 3), (0, 3)])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("dimension", [0, 1])
def test_empty_and_small_batches(shape, kind, dimension):
    clouds = kind(np.random.default_rng(0).normal(size=shape))
    assert tuple(mst_lengths(clouds).shape) == (*shape[:-2], max(0, shape[-2] - 1))
    found = rips_persistence(clouds, dimension=dimension, essential=True)
    assert found.shape == shape[:-2]
    expected = math.prod(shape[:-1]) if shape[-1] else math.prod(shape[:-2]) * (shape[-2] > 0)
    assert len(found.values) == (expected if dimension == 0 else 0)


def test_a_gradient_worked_out_by_hand():
    # Edges of the tree: (0,0)-(3,4), length 5, and (3,4)-(3,6), length 2.
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 6.0]], dtype=torch.float64, requires_grad=True)
    lengths = mst_lengths(points)
    assert lengths.tolist() == [2, 5]
    (lengths * torch.tensor([10.0, 1.0])).sum().backward()
    np.testing.assert_allclose(points.grad, [[-0.6, -0.8], [0.6, 0.8 - 10], [0, 10]])
    distances = torch.cdist(points.detach()[None], points.detach()[None]).requires_grad_()
    (mst_lengths(distances, distances=True) * torch.tensor([10.0, 1.0])).sum().backward()
    np.testing.assert_array_equal(distances.grad, [[[0, 1, 0], [0, 0, 10], [0, 0, 0]]])


def test_gradients_agree_with_finite_differences():
    points = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    assert torch.autograd.gradcheck(mst_lengths, points)
    assert torch.autograd.gradcheck(lambda x: rips_persistence(x, threshold=1.5).values, points)
    distances = torch.cdist(points, points).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mst_lengths((x + x.mT) / 2, distances=True), distances)


def test_gradients_through_a_view_and_a_part():
    points = torch.randn(4, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).requires_grad_()
    mst_lengths(points.mT[1:3])[0].sum().backward()
    assert points.grad[1].abs().sum() > 0
    assert not points.grad[[0, 2, 3]].any()


def test_coincident_points_have_a_finite_gradient():
    points = torch.zeros(1, 6, 3, requires_grad=True)
    mst_lengths(points).sum().backward()
    assert not points.grad.any()
    points = torch.tensor([[0.0], [0.0], [1e-42]], requires_grad=True)
    mst_lengths(points).sum().backward()
    np.testing.assert_array_equal(points.grad[2], [1])
    assert rips_persistence(points, dimension=1).values.sum().backward() is None


def test_points_changed_before_backward_are_noticed():
    points = torch.randn(5, 2).requires_grad_()
    moved = points * 1
    total = mst_lengths(moved).sum()
    moved.detach().add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_autocast_changes_nothing():
    points = torch.randn(2, 20, 8)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = mst_lengths(points)
    torch.testing.assert_close(narrow, mst_lengths(points), rtol=0, atol=0)


def test_threads_give_the_same_and_may_run_at_once():
    clouds = np.random.default_rng(0).normal(size=(64, 40, 300)).astype(np.float32)
    lengths = mst_lengths(clouds, threads=1)
    loops = rips_persistence(clouds, dimension=1, threads=1)
    np.testing.assert_array_equal(mst_lengths(clouds, threads=3), lengths)
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(mst_lengths, clouds, threads=2) for _ in range(6)]
        others = [pool.submit(rips_persistence, clouds, dimension=1, threads=2) for _ in range(6)]
        for task in tasks:
            np.testing.assert_array_equal(task.result(), lengths)
        for other in others:
            np.testing.assert_array_equal(other.result().values, loops.values)
            np.testing.assert_array_equal(other.result().indices, loops.indices)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_distances_need_not_be_a_metric(n, seed):
    distances = random_distances(np.random.default_rng(seed), n)
    np.testing.assert_array_equal(mst_lengths(distances, distances=True), matrix_tree_lengths(distances))
    found = rips_persistence(distances, distances=True)
    np.testing.assert_array_equal(found[0][:, 1], matrix_tree_lengths(distances))
    np.testing.assert_array_equal(distances.reshape(-1)[found.indices[:, 1]], found[0][:, 1])


def test_only_distances_above_the_diagonal_are_read():
    distances = random_distances(np.random.default_rng(0), 12)
    tilted = distances + np.tril(np.full((12, 12), 1e-4), -1) + np.diag(np.full(12, 1e-4))
    tilted[3, 7], tilted[7, 3] = -0.0, 0.0
    distances[3, 7] = distances[7, 3] = 0.0
    for dimension in (0, 1):
        there, here = (
            rips_persistence(x, dimension=dimension, distances=True, essential=True) for x in (tilted, distances)
        )
        np.testing.assert_array_equal(there.values, here.values)
        np.testing.assert_array_equal(there.indices, here.indices)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("distances", [False, True])
def test_what_is_not_finite_is_named(bad, distances):
    clouds = np.zeros((2, 3, 4, 4))
    clouds[1, 2, 3, 0] = bad
    for function in (mst_lengths, rips_persistence):
        with pytest.raises(ValueError, match=rf"points\[1, 2, 3, 0\] is {bad}; all values must be finite"):
            function(torch.from_numpy(clouds), distances=distances)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((1, 0, 2), -1.0, r"points\[1, 0, 2\] is -1\.0 and points\[1, 2, 0\] is 1\.0"),
        ((0, 2, 1), 1.5, r"points\[0, 1, 2\] is 1\.0 and points\[0, 2, 1\] is 1\.5"),
        ((1, 2, 2), 0.5, r"points\[1, 2, 2\] is 0\.5; .* 0 on the diagonal"),
    ],
)
def test_what_is_no_distance_is_named(where, value, message):
    distances = np.ones((2, 3, 3)) - np.eye(3)
    distances[where] = value
    for dtype in (np.float16, np.float64):
        with pytest.raises(ValueError, match=message):
            mst_lengths(distances.astype(dtype), distances=True)


@pytest.mark.parametrize(
    ("points", "options", "error", "message"),
    [
        ([[0.0, 1.0]], {}, TypeError, "points must be a NumPy array or a torch tensor; got list"),
        (np.zeros((3, 2), np.int64), {}, TypeError, "points must be float16, .* or float64; got int64"),
        (torch.zeros(3, 2, dtype=torch.complex64), {}, TypeError, "got complex64"),
        (np.zeros(3), {}, ValueError, r"points must have shape \(..., n, d\), .*; got \(3,\)"),
        (np.zeros((3, 2)), {"distances": True}, ValueError, r"square matrices .* got shape \(3, 2\)"),
        (np.zeros(3), {"distances": True}, ValueError, "square matrices"),
        (np.zeros((3, 2)), {"threads": 0}, ValueError, "threads must be at least 1"),
    ],
)
def test_wrong_arguments(points, options, error, message):
    for function in (mst_lengths, rips_persistence):
        with pytest.raises(error, match=message):
            function(points, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dimension": 2}, "dimension must be 0 or 1; got 2"),
        ({"threshold": -1.0}, "threshold must be 0 or more; got -1.0"),
        ({"threshold": math.nan}, "threshold must be 0 or more"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        rips_persistence(np.zeros((3, 2)), **options)
