import math

import gudhi
import numpy as np
import persim
import pytest
import torch
from gudhi.hera import wasserstein_distance as hera
from gudhi.representations import SlicedWassersteinDistance
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment
from some_diagrams import as_kind, differentiable, lists, plain, random_lists

from persistill.topology import Diagrams, bottleneck, landscapes, sliced_wasserstein, sublevel_persistence, wasserstein
from persistill.topology.vectorization import _batching

DISTANCES = {
    "W1": wasserstein,
    "W1 euclidean": lambda first, second: wasserstein(first, second, ground=2),
    "W2": lambda first, second: wasserstein(first, second, order=2),
    "W2.5 euclidean": lambda first, second: wasserstein(first, second, order=2.5, ground=2),
    "bottleneck": bottleneck,
    "sliced": sliced_wasserstein,
}


@pytest.fixture(params=["numpy", "torch"])
def kind(request):
    return request.param


def one(diagram):
    return Diagrams.from_list([np.asarray(diagram, np.float64).reshape(-1, 2)])


def far(diagram, ground):
    return abs(diagram[:, 1] - diagram[:, 0]) * (0.5 if ground == math.inf else math.sqrt(0.5))


def wasserstein_by_assignment(first, second, order, ground):
    """The whole problem: each point meets a point or a place on the diagonal that is its own."""
    n, m = len(first), len(second)
    costs = np.zeros((n + m, n + m))
    costs[:n, :m] = np.linalg.norm(first[:, None] - second, ord=ground, axis=2) ** order if n and m else 0
    costs[:n, m:] = far(first, ground)[:, None] ** order
    costs[n:, :m] = far(second, ground) ** order
    return costs[linear_sum_assignment(costs)].sum() ** (1 / order)


def bottleneck_by_trial(first, second):
    """The least of all candidates at which the whole problem has a matching without forbidden pairs."""
    n, m = len(first), len(second)
    gaps = np.zeros((n + m, n + m))
    gaps[:n, :m] = np.abs(first[:, None] - second).max(2) if n and m else 0
    gaps[:n, m:] = far(first, math.inf)[:, None]
    gaps[n:, :m] = far(second, math.inf)
    for candidate in np.unique(gaps):
        forbidden = (gaps > candidate).astype(float)
        if forbidden[linear_sum_assignment(forbidden)].sum() == 0:
            return candidate
    return 0.0


def sliced_by_loops(first, second, directions):
    total = 0.0
    for k in range(directions):
        angle = -math.pi / 2 + k * math.pi / directions
        u = np.array([math.cos(angle), math.sin(angle)])
        ours = sorted([*(first @ u), *(second.mean(1) * u.sum())])
        theirs = sorted([*(second @ u), *(first.mean(1) * u.sum())])
        total += sum(abs(x - y) for x, y in zip(ours, theirs, strict=True))
    return total / directions


def pairs(count, **settings):
    return random_lists(count, seed=1, **settings), random_lists(count, seed=2, **settings)[::-1]


# Against other libraries and other algorithms


@pytest.mark.parametrize("digits", [None, 1])
@pytest.mark.parametrize("order", [1, 2, 3.5])
@pytest.mark.parametrize("ground", [2, math.inf])
def test_wasserstein_agrees_with_the_whole_assignment(kind, order, ground, digits):
    first, second = pairs(40, digits=digits)
    found = wasserstein(
        as_kind(Diagrams.from_list(first), kind), as_kind(Diagrams.from_list(second), kind), order=order, ground=ground
    )
    expected = [wasserstein_by_assignment(*pair, order, ground) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(plain(found), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("ground", [2, math.inf])
def test_wasserstein_agrees_with_gudhis_hera(order, ground):
    first, second = pairs(20)
    found = wasserstein(Diagrams.from_list(first), Diagrams.from_list(second), order=order, ground=ground)
    theirs = [hera(*pair, order=order, internal_p=ground, delta=1e-6) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, theirs, rtol=2e-6)


def test_wasserstein_agrees_with_persim():
    first, second = (part[1:-1] for part in pairs(12))
    found = wasserstein(Diagrams.from_list(first), Diagrams.from_list(second), ground=2)
    np.testing.assert_allclose(found, [persim.wasserstein(*pair) for pair in zip(first, second, strict=True)])


@pytest.mark.parametrize("digits", [None, 1])
def test_bottleneck_agrees_with_gudhi(kind, digits):
    first, second = pairs(60, digits=digits)
    found = bottleneck(as_kind(Diagrams.from_list(first), kind), as_kind(Diagrams.from_list(second), kind))
    theirs = [gudhi.bottleneck_distance(*pair, 0) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(plain(found), theirs, rtol=1e-12)


def test_bottleneck_agrees_with_persim():
    first, second = (part[1:-1] for part in pairs(12))
    found = bottleneck(Diagrams.from_list(first), Diagrams.from_list(second))
    np.testing.assert_allclose(found, [persim.bottleneck(*pair) for pair in zip(first, second, strict=True)])


@settings(deadline=None, max_examples=150)
@given(lists(), lists(), st.sampled_from([1, 1.5, 2]), st.sampled_from([2, math.inf]))
def test_any_matching_agrees_with_the_whole_problem(first, second, order, ground):
    expected = wasserstein_by_assignment(first, second, order, ground)
    found = wasserstein(one(first), one(second), order=order, ground=ground)[0]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert bottleneck(one(first), one(second))[0] == bottleneck_by_trial(first, second)


@pytest.mark.parametrize("directions", [1, 7, 50])
def test_sliced_wasserstein_agrees_with_loops(kind, directions):
    first, second = pairs(15)
    found = sliced_wasserstein(
        as_kind(Diagrams.from_list(first), kind), as_kind(Diagrams.from_list(second), kind), directions=directions
    )
    expected = [sliced_by_loops(*pair, directions) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(plain(found), expected, rtol=1e-12)


def test_sliced_wasserstein_agrees_with_persim():
    # persim projects to the diagonal by the absolute value, which is right for values above 0.
    first, second = ([np.abs(diagram) for diagram in part[1:-1]] for part in pairs(8))
    found = sliced_wasserstein(Diagrams.from_list(first), Diagrams.from_list(second), directions=50)
    theirs = [persim.sliced_wasserstein(*pair, M=50) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, theirs, rtol=1e-5)


def test_sliced_wasserstein_of_many_directions_is_gudhis():
    # GUDHI leaves the last direction out of the mean.
    first, second = pairs(8)
    found = sliced_wasserstein(Diagrams.from_list(first), Diagrams.from_list(second), directions=2000)
    theirs = SlicedWassersteinDistance(num_directions=2000)
    np.testing.assert_allclose(found, [theirs(*pair) for pair in zip(first, second, strict=True)], rtol=3e-3)


# By hand


def test_a_pythagorean_triple():
    first, second = one([[0, 30]]), one([[3, 34]])
    assert wasserstein(first, second, ground=2)[0] == 5
    assert wasserstein(first, second)[0] == 4
    assert bottleneck(first, second)[0] == 4
    # Two such pairs, far from each other, and a point that goes to the diagonal: 5, 5 and 8 / sqrt(2).
    first, second = one([[0, 30], [100, 140], [50, 58]]), one([[104, 143], [3, 34]])
    assert wasserstein(first, second, ground=2)[0] == pytest.approx(10 + 8 / math.sqrt(2))
    assert wasserstein(first, second, order=2)[0] == pytest.approx(math.sqrt(3 * 16))
    assert bottleneck(first, second)[0] == 4


def test_points_that_are_closer_to_the_diagonal_than_to_each_other_go_there():
    first, second = one([[0, 2]]), one([[10, 14]])
    assert wasserstein(first, second)[0] == 1 + 2
    assert wasserstein(first, second, order=2)[0] == pytest.approx(math.sqrt(5))
    assert bottleneck(first, second)[0] == 2


def test_a_bottleneck_that_greedy_pairing_misses():
    # The middle point of the second must be left to the farther one of the first.
    assert bottleneck(one([[0, 100], [4, 100]]), one([[5, 100], [9, 100]]))[0] == 5
    assert bottleneck(one([[4, 100], [0, 100]]), one([[5, 100], [-3, 100]]))[0] == 3


def test_the_distance_to_an_empty_diagram(kind):
    points = np.array([[0.0, 2.0], [1.0, 7.0]])
    first = as_kind(Diagrams.from_list([points, points[:1], np.empty((0, 2))]), kind)
    empty = as_kind(Diagrams.from_list([np.empty((0, 2))] * 3), kind)
    for pair in ((first, empty), (empty, first)):
        np.testing.assert_allclose(plain(wasserstein(*pair)), [4, 1, 0])
        np.testing.assert_allclose(plain(wasserstein(*pair, order=2, ground=2)), [math.sqrt(20), math.sqrt(2), 0])
        np.testing.assert_allclose(plain(bottleneck(*pair)), [3, 1, 0])
        # |<(-1, 1), u>| is 1, sqrt(2), 1 and 0 for the four directions, and 2 sqrt(2) / pi in the mean over all.
        four, all_ = (plain(sliced_wasserstein(*pair, directions=count)) for count in (4, 1000))
        np.testing.assert_allclose(four[1:], [(2 + math.sqrt(2)) / 4, 0])
        np.testing.assert_allclose(all_[1:], [2 * math.sqrt(2) / math.pi, 0], rtol=1e-5)


# Classes that never die


def test_classes_that_never_die_are_matched_by_birth(kind):
    inf = np.inf
    first = [[[0, inf], [5, inf], [0, 2]], [[0, inf]], [[0, inf]], [[0, 1]], [[3, -inf], [1, inf]]]
    second = [[[4, inf], [1, inf]], [[0, inf], [0, inf]], [[0, -inf]], [[0, inf]], [[3, inf], [2, -inf]]]
    sides = [as_kind(Diagrams.from_list([np.array(part, float) for part in side]), kind) for side in (first, second)]
    np.testing.assert_array_equal(plain(wasserstein(*sides)), [3, inf, inf, inf, 3])
    np.testing.assert_allclose(plain(wasserstein(*sides, order=2)), [math.sqrt(3), inf, inf, inf, math.sqrt(5)])
    np.testing.assert_array_equal(plain(bottleneck(*sides)), [1, inf, inf, inf, 2])
    with pytest.raises(ValueError, match=r"point 0 of first \(diagram 0\) is \[0.0, inf\]; drop"):
        sliced_wasserstein(*sides)


def test_classes_that_never_die_agree_with_gudhi():
    rng = np.random.default_rng(5)
    # GUDHI's hera hangs or crashes where all points of one diagram are infinite.
    first, second = (part[1:-1] for part in pairs(15))
    for part in (first, second):
        for number, diagram in enumerate(part):
            endless = np.stack([rng.random(3), np.full(3, np.inf)], 1)
            part[number] = rng.permutation(np.concatenate([diagram, endless]))
    found = bottleneck(Diagrams.from_list(first), Diagrams.from_list(second))
    theirs = [gudhi.bottleneck_distance(*pair, 0) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, theirs, rtol=1e-12)
    found = wasserstein(Diagrams.from_list(first), Diagrams.from_list(second), order=2)
    theirs = [hera(*pair, order=2, delta=1e-6) for pair in zip(first, second, strict=True)]
    np.testing.assert_allclose(found, theirs, rtol=2e-6)


# Properties


@pytest.mark.parametrize("name", DISTANCES)
@settings(deadline=None, max_examples=40)
@given(lists(), lists(), lists())
def test_distances_are_metrics(name, first, second, third):
    distance = DISTANCES[name]
    there, back, on, detour = (
        distance(one(x), one(y))[0] for x, y in ((first, second), (second, first), (second, third), (first, third))
    )
    assert there == pytest.approx(back, rel=1e-9, abs=1e-12)
    assert detour <= there + on + 1e-9
    # Two points a rounding error apart may be matched crosswise.
    assert distance(one(first), one(first))[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", DISTANCES)
@settings(deadline=None, max_examples=20)
@given(lists(), lists(), st.randoms(use_true_random=False))
def test_the_order_of_points_and_points_on_the_diagonal_do_not_matter(name, first, second, random):
    shuffled = np.concatenate([first, [[0.5, 0.5], [-3, -3]]])
    shuffled = shuffled[random.sample(range(len(shuffled)), len(shuffled))]
    expected = DISTANCES[name](one(first), one(second))
    np.testing.assert_allclose(DISTANCES[name](one(shuffled), one(second)), expected, rtol=1e-9, atol=1e-12)
    # Mirroring both turns sublevel into superlevel diagrams and keeps all distances.
    np.testing.assert_allclose(DISTANCES[name](one(-first), one(-second)), expected, rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(lists(), lists())
def test_distances_bound_each_other(first, second):
    first, second = one(first), one(second)
    largest, square, whole = bottleneck(first, second), wasserstein(first, second, order=2), wasserstein(first, second)
    assert (largest <= square + 1e-12).all()
    assert (square <= whole + 1e-12).all()
    # Carriere et al., theorem 3.3.
    assert (sliced_wasserstein(first, second) <= 2 * math.sqrt(2) * whole + 1e-12).all()
    # Bubenik, corollary 16: landscapes are stable.
    grid = np.linspace(-3, 3, 50)
    gaps = np.abs(landscapes(first, grid) - landscapes(second, grid)).max()
    assert gaps <= largest[0] + 1e-12


_signals = arrays.arrays(np.float64, 30, elements=st.floats(-1, 1))


@settings(deadline=None, max_examples=60)
@given(_signals, arrays.arrays(np.float64, 30, elements=st.floats(-0.3, 0.3)))
def test_diagrams_are_stable(signal, noise):
    first, second = (sublevel_persistence(one, essential=True) for one in (signal, signal + noise))
    assert float(bottleneck(first, second)) <= np.abs(noise).max() + 1e-12


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("scale", [1e-30, 1e25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_scale_with_huge_and_tiny_values(name, scale, dtype):
    first, second = (Diagrams.from_list(part) for part in pairs(10))
    scaled = [Diagrams((side.values * scale).astype(dtype), side.offsets) for side in (first, second)]
    found = DISTANCES[name](*scaled)
    assert found.dtype == dtype
    np.testing.assert_allclose(found / scale, DISTANCES[name](first, second), rtol=1e-4)


def test_high_orders_of_lifetimes_that_differ_widely_do_not_overflow():
    first, second = one([[0, 1e-30], [0, 3e-30]]), one([[0, 2], [1, 1.5], [0, 1]])
    expected = (1 + 0.25**40 + 0.5**40) ** (1 / 40)
    for pair in ((first, second), (second, first)):
        assert wasserstein(*pair, order=40)[0] == pytest.approx(expected, rel=1e-12)


# Gradients


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_agree_with_differences(name):
    # Directions in which projections meet would be corners; these random ones are not.
    first, ours = differentiable(np.empty((0, 2)), *random_lists(4, most=6, seed=3), np.array([[0.0, np.inf]]))
    second, theirs = differentiable(*random_lists(5, most=6, seed=4), np.array([[0.5, np.inf]]))
    if name == "sliced":
        first, ours = differentiable(*random_lists(5, most=6, seed=3))
        second, theirs = differentiable(*random_lists(5, most=6, seed=4))
    finite = [values.detach().isfinite() for values in (ours, theirs)]

    def function(x, y):
        x, y = (
            torch.full_like(side, torch.inf).masked_scatter(mask, part)
            for side, mask, part in zip((ours, theirs), finite, (x, y), strict=True)
        )
        return DISTANCES[name](Diagrams(x, first.offsets), Diagrams(y, second.offsets))[1:]

    parts = [values.detach()[mask].requires_grad_() for values, mask in zip((ours, theirs), finite, strict=True)]
    assert torch.autograd.gradcheck(function, parts, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_values_are_the_same_with_gradients(name):
    sides = [differentiable(*part)[0] for part in pairs(20, digits=1)]
    with_gradients = DISTANCES[name](*sides)
    assert with_gradients.requires_grad
    found = DISTANCES[name](*(Diagrams(side.values.detach(), side.offsets) for side in sides))
    np.testing.assert_allclose(plain(with_gradients), found, rtol=1e-12)


def test_a_gradient_by_hand():
    # sqrt(4^2 + 4^2): each matched death moves with 4 / sqrt(32); the point (50, 58) is 4 from the diagonal.
    first, ours = differentiable(np.array([[0.0, 30.0], [50.0, 58.0]]))
    second, theirs = differentiable(np.array([[3.0, 34.0]]))
    wasserstein(first, second, order=2).sum().backward()
    slope = 4 / math.sqrt(32)
    np.testing.assert_allclose(ours.grad, [[0, -slope], [-slope / 2, slope / 2]])
    np.testing.assert_allclose(theirs.grad, [[0, slope]])
    ours.grad = theirs.grad = None
    wasserstein(first, second, ground=2).sum().backward()
    np.testing.assert_allclose(ours.grad, [[-0.6, -0.8], [-math.sqrt(0.5), math.sqrt(0.5)]])
    np.testing.assert_allclose(theirs.grad, [[0.6, 0.8]])
    ours.grad = theirs.grad = None
    bottleneck(Diagrams(ours[:1], torch.tensor([0, 1])), second).sum().backward()
    np.testing.assert_allclose(ours.grad, [[0, -1], [0, 0]])
    np.testing.assert_allclose(theirs.grad, [[0, 1]])


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_are_finite_where_nothing_moves_and_where_nothing_is(name):
    awkward = [np.array([[0.0, 1.0], [0.0, 1.0], [2.0, 2.0]]), np.empty((0, 2)), np.array([[0.0, 2.0], [0.0, 2.0]])]
    first, ours = differentiable(*awkward)
    second, theirs = differentiable(*awkward[:2], np.array([[1.0, 3.0]]))
    found = DISTANCES[name](first, second)
    assert (found[:2] == 0).all()
    assert found[2] > 0
    found.sum().backward()
    for values in (ours, theirs):
        assert values.grad.isfinite().all()
    assert (ours.grad[:3] == 0).all()


# What is taken and what is refused


@pytest.mark.parametrize("name", DISTANCES)
def test_kinds_shapes_and_levels(name, monkeypatch):
    first, second = (Diagrams.from_list(part) for part in pairs(12))
    expected = DISTANCES[name](first, second)
    assert isinstance(expected, np.ndarray)
    shaped = [Diagrams(side.values, side.offsets, (3, 4)).torch() for side in (first, second)]
    found = DISTANCES[name](*shaped)
    assert found.shape == (3, 4)
    np.testing.assert_allclose(found.flatten(), expected, rtol=1e-12)
    mixed = Diagrams(second.values.astype(np.float32), second.offsets)
    assert DISTANCES[name](first, mixed).dtype == np.float64
    levels = Diagrams(np.array([[0, 255], [51, 102]], np.uint8), np.array([0, 2]))
    unit = Diagrams(np.array([[0, 1], [0.2, 0.4]]), np.array([0, 2]))
    np.testing.assert_allclose(DISTANCES[name](levels, unit), 0, atol=1e-7)
    monkeypatch.setattr(_batching, "_NUMBERS", 3000)
    np.testing.assert_allclose(DISTANCES[name](first, second), expected, rtol=1e-12)


@pytest.mark.parametrize("distance", [wasserstein, bottleneck])
def test_threads_change_nothing(distance):
    first, second = (Diagrams.from_list(part) for part in pairs(50))
    np.testing.assert_array_equal(distance(first, second, threads=1), distance(first, second, threads=3))


@pytest.mark.parametrize("name", DISTANCES)
def test_pairs_must_fit(name):
    first = Diagrams.from_list([np.zeros((1, 2))] * 2)
    with pytest.raises(ValueError, match=r"first and second must have one shape; got \(2,\) and \(1,\)"):
        DISTANCES[name](first, one([[0, 1]]))
    with pytest.raises(TypeError, match="both hold NumPy arrays or both torch tensors"):
        DISTANCES[name](first, first.torch())
    with pytest.raises(TypeError, match=r"second must be Diagrams .* got list"):
        DISTANCES[name](first, [np.zeros((1, 2))])
    with pytest.raises(ValueError, match=r"point 1 of second \(diagram 1\) is \[nan, 1.0\]"):
        DISTANCES[name](first, Diagrams.from_list([np.zeros((1, 2)), np.array([[np.nan, 1]])]))
    nothing = Diagrams(np.empty((0, 2)), np.zeros(1, np.int64))
    assert DISTANCES[name](nothing, nothing).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: wasserstein(d, d, order=0.5), ValueError, "order must be finite and at least 1; got 0.5"),
        (lambda d: wasserstein(d, d, order=math.inf), ValueError, "order must be finite"),
        (lambda d: wasserstein(d, d, ground=1), ValueError, "ground must be 2 or math.inf; got 1"),
        (lambda d: sliced_wasserstein(d, d, directions=0), ValueError, "directions must be at least 1; got 0"),
        (lambda d: bottleneck(d, d, threads=0), ValueError, "threads must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(one([[0, 1]]))
