import math

import numpy as np
import pytest
import torch
from gudhi import representations as gudhi
from hypothesis import given, settings
from hypothesis import strategies as st
from persim import PersLandscapeExact
from persim.persistent_entropy import persistent_entropy
from some_diagrams import as_kind, differentiable, lists, plain, random_lists

from persistill.topology import (
    Diagrams,
    betti_curves,
    euler_curves,
    landscapes,
    persistence_entropy,
    silhouettes,
    sorted_lifetimes,
    total_persistence,
)
from persistill.topology.vectorization import _batching

GRID = np.linspace(-0.5, 2, 61)
ALL = {
    "landscapes": lambda diagrams: landscapes(diagrams, GRID, levels=3),
    "silhouettes": lambda diagrams: silhouettes(diagrams, GRID),
    "betti": lambda diagrams: betti_curves(diagrams, GRID),
    "betti means": lambda diagrams: betti_curves(diagrams, GRID, mean=True),
    "entropy": persistence_entropy,
    "total": total_persistence,
    "lifetimes": lambda diagrams: sorted_lifetimes(diagrams, 4),
}
SMOOTH = {name: function for name, function in ALL.items() if name != "betti"} | {
    "silhouettes, root": lambda diagrams: silhouettes(diagrams, GRID, power=0.5),
    "silhouettes, even": lambda diagrams: silhouettes(diagrams, GRID, power=0),
    "total, root": lambda diagrams: total_persistence(diagrams, power=0.5),
    "total, square": lambda diagrams: total_persistence(diagrams, power=2),
    "euler": lambda diagrams: euler_curves([diagrams], GRID, mean=True),
}


@pytest.fixture(params=["numpy", "torch"])
def kind(request):
    return request.param


@pytest.fixture
def some(kind):
    return as_kind(Diagrams.from_list(random_lists(30, digits=2)), kind)


def tent(point, t):
    low, high = min(point), max(point)
    return max(0.0, min(t - low, high - t))


def landscape_by_loops(diagram, grid, levels):
    heights = [sorted((tent(point, t) for point in diagram), reverse=True) + [0.0] * levels for t in grid]
    return np.array([column[:levels] for column in heights]).T


# Landscapes


def test_landscapes_agree_with_loops(some):
    found = landscapes(some, GRID, levels=7)
    assert found.shape == (30, 7, 61)
    expected = np.stack([landscape_by_loops(plain(diagram), GRID, 7) for diagram in some])
    assert (expected[:, 6] > 0).any()
    np.testing.assert_allclose(plain(found), expected, atol=1e-12)


def test_landscapes_agree_with_gudhi_up_to_its_root_of_two():
    diagrams = random_lists(30)[1:]
    theirs = gudhi.Landscape(num_landscapes=5, resolution=61, sample_range=[-0.5, 2]).fit_transform(diagrams)
    found = landscapes(Diagrams.from_list(diagrams), GRID)
    np.testing.assert_allclose(found.reshape(29, -1) * math.sqrt(2), theirs, atol=1e-12)


def test_landscapes_agree_with_the_exact_ones_of_persim():
    # persim interpolates between critical points; GRID is not aligned with them.
    for diagram in random_lists(6, most=8, seed=3)[1:]:
        exact = PersLandscapeExact(dgms=[diagram], hom_deg=0)
        exact.compute_landscape()
        found = landscapes(Diagrams.from_list([diagram]), GRID, levels=len(diagram))[0]
        for level, pairs in enumerate(exact.critical_pairs):
            x, y = np.array(pairs, np.float64).T
            np.testing.assert_allclose(found[level], np.interp(GRID, x, y, 0, 0), atol=1e-9)


def test_a_landscape_by_hand():
    diagrams = Diagrams.from_list([np.array([[0.0, 6.0], [2.0, 8.0]]), np.array([[1.0, 3.0]])])
    found = landscapes(diagrams, [1, 3, 4, 5, 7], levels=3)
    np.testing.assert_array_equal(found[0], [[1, 3, 2, 3, 1], [0, 1, 2, 1, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(found[1, 0], [0, 0, 0, 0, 0])


@settings(deadline=None, max_examples=50)
@given(lists(), lists(superlevel=True), st.integers(1, 4))
def test_any_landscape_agrees_with_loops(first, second, levels):
    found = landscapes(Diagrams.from_list([first, second]), GRID, levels=levels)
    for diagram, landscape in zip((first, second), found, strict=True):
        np.testing.assert_allclose(landscape, landscape_by_loops(diagram, GRID, levels), atol=1e-12)


def test_where_tents_tie_the_gradient_follows_one_of_them():
    diagrams, values = differentiable(np.array([[0.0, 4.0], [0.0, 4.0]]))
    landscapes(diagrams, [1.0], levels=1).sum().backward()
    # t - b decides: d/db = -1 for exactly one of the two.
    assert sorted(values.grad[:, 0].tolist()) == [-1, 0]
    assert (values.grad[:, 1] == 0).all()


# Silhouettes


@pytest.mark.parametrize("power", [0, 0.5, 1, 3])
def test_silhouettes_agree_with_gudhi_up_to_its_root_of_two(power):
    diagrams = random_lists(30)[1:]
    theirs = gudhi.Silhouette(
        weight=lambda point: (point[1] - point[0]) ** power, resolution=61, sample_range=[-0.5, 2]
    ).fit_transform(diagrams)
    found = silhouettes(Diagrams.from_list(diagrams), GRID, power=power)
    np.testing.assert_allclose(found * math.sqrt(2), theirs, atol=1e-12)


def test_a_silhouette_is_a_mean_of_tents(some):
    found = plain(silhouettes(some, GRID, power=2))
    for diagram, silhouette in zip(some, found, strict=True):
        weights = [(death - birth) ** 2 for birth, death in plain(diagram)]
        for t, height in zip(GRID, silhouette, strict=True):
            heights = [tent(point, t) for point in plain(diagram)]
            mean = sum(w * h for w, h in zip(weights, heights, strict=True)) / (sum(weights) or 1)
            assert height == pytest.approx(mean, abs=1e-12)


def test_points_on_the_diagonal_do_not_dilute_a_silhouette():
    with_one = Diagrams.from_list([np.array([[0.0, 1.0], [0.3, 0.3]])])
    without = Diagrams.from_list([np.array([[0.0, 1.0]])])
    np.testing.assert_array_equal(silhouettes(with_one, GRID, power=0), silhouettes(without, GRID, power=0))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_powers_of_huge_and_tiny_lifetimes_do_not_overflow(scale):
    values = np.array([[0.0, 1.0], [0.0, 2.0]], np.float32) * np.float32(scale)
    found = silhouettes(Diagrams.from_list([values]), np.array([0.5, 1.5]) * scale, power=4)
    np.testing.assert_allclose(found[0] / scale, [0.5, 16 / 17 * 0.5], rtol=1e-6)


# Summaries


def test_entropies_agree_with_gudhi_and_persim(some):
    found = plain(persistence_entropy(some))
    diagrams = [plain(one) for one in some][1:]
    np.testing.assert_allclose(found[1:], gudhi.Entropy().fit_transform(diagrams)[:, 0], atol=1e-12)
    np.testing.assert_allclose(found[1:], persistent_entropy(diagrams), atol=1e-12)
    assert found[0] == 0


def test_entropies_by_hand():
    equal = np.array([[0.0, 2.0], [1.0, 3.0], [5.0, 7.0], [9.0, 9.0]])
    found = persistence_entropy(Diagrams.from_list([equal, np.array([[0.0, 3.0], [0.0, 1.0]]), equal[:1]]))
    expected = [math.log(3), 0.75 * math.log(4 / 3) + 0.25 * math.log(4), 0]
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_total_persistence_by_hand(kind):
    diagrams = as_kind(Diagrams.from_list([np.array([[0.0, 3.0], [5.0, 1.0]]), np.empty((0, 2))]), kind)
    np.testing.assert_allclose(plain(total_persistence(diagrams)), [7, 0])
    np.testing.assert_allclose(plain(total_persistence(diagrams, power=2)), [25, 0])
    np.testing.assert_allclose(plain(total_persistence(diagrams, power=0.5)), [math.sqrt(3) + 2, 0])


def test_lifetimes_are_sorted_filled_and_cut(some):
    found = plain(sorted_lifetimes(some, 12))
    assert found.shape == (30, 12)
    for diagram, row in zip(some, found, strict=True):
        expected = sorted((death - birth for birth, death in plain(diagram)), reverse=True)[:12]
        np.testing.assert_allclose(row, expected + [0] * (12 - len(expected)), atol=1e-15)
    assert plain(sorted_lifetimes(some, 40)).shape == (30, 40)


# What holds for all


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_agree_with_differences(name):
    # No two tents tie, and no end lies on the grid.
    diagrams, values = differentiable(np.empty((0, 2)), *random_lists(4, most=6, seed=1)[1:], np.empty((0, 2)))

    def function(points):
        return SMOOTH[name](Diagrams(points, diagrams.offsets))

    assert torch.autograd.gradcheck(function, values, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("name", SMOOTH)
def test_values_are_the_same_with_gradients(name):
    diagrams, values = differentiable(*random_lists(12, digits=1))
    with_gradients = SMOOTH[name](diagrams)
    assert with_gradients.requires_grad
    found = SMOOTH[name](Diagrams(values.detach(), diagrams.offsets))
    np.testing.assert_allclose(plain(with_gradients), found, atol=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_are_finite_at_ties_and_on_the_diagonal(name):
    awkward = [np.full((3, 2), 0.25), np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), np.empty((0, 2))]
    diagrams, values = differentiable(*awkward)
    found = SMOOTH[name](diagrams)
    assert found.isfinite().all()
    found.sum().backward()
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("name", SMOOTH)
def test_a_batch_of_empty_diagrams_has_gradients_too(name):
    diagrams, values = differentiable(np.empty((0, 2)), np.empty((0, 2)))
    found = SMOOTH[name](diagrams)
    assert len(found) == 2
    assert (found == 0).all()
    found.sum().backward()
    assert values.grad.shape == (0, 2)


@pytest.mark.parametrize("name", ALL)
def test_no_diagrams_at_all_are_a_batch(name):
    found = ALL[name](Diagrams(np.empty((0, 2)), np.zeros(1, np.int64)))
    assert len(found) == 0
    assert found.shape[1:] == ALL[name](Diagrams.from_list([np.zeros((1, 2))])).shape[1:]


@pytest.mark.parametrize("name", ALL)
@settings(deadline=None, max_examples=15)
@given(lists(most=9), st.randoms(use_true_random=False))
def test_the_order_of_points_and_points_on_the_diagonal_do_not_matter(name, diagram, random):
    shuffled = np.concatenate([diagram, [[0.5, 0.5], [0.1, 0.1]]])
    shuffled = shuffled[random.sample(range(len(shuffled)), len(shuffled))]
    found, again = (ALL[name](Diagrams.from_list([one]))[0] for one in (diagram, shuffled))
    np.testing.assert_allclose(found, again, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_kinds_dtypes_and_shapes_are_kept(name):
    diagrams = Diagrams.from_list(random_lists(6))
    expected = ALL[name](diagrams)
    shaped = Diagrams(diagrams.values, diagrams.offsets, (2, 3))
    found = ALL[name](shaped)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected.reshape(2, 3, *expected.shape[1:]))
    found = ALL[name](shaped.torch())
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), ALL[name](shaped))
    single = Diagrams(diagrams.values.astype(np.float32), diagrams.offsets)
    assert ALL[name](single).dtype == np.float32
    np.testing.assert_allclose(ALL[name](single), expected, atol=2e-5)
    one = Diagrams(diagrams[1], np.array([0, len(diagrams[1])]), ())
    np.testing.assert_allclose(ALL[name](one), expected[1], atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_levels_stand_for_parts_of_255(name):
    levels = np.sort(np.random.default_rng(0).integers(0, 256, (20, 2)), 1).astype(np.uint8)
    found = ALL[name](Diagrams.from_list([levels]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, ALL[name](Diagrams.from_list([levels.astype(np.float32) / 255])))


@pytest.mark.parametrize("name", ALL)
def test_a_batch_that_is_cut_into_blocks_is_the_same(name, monkeypatch):
    diagrams = Diagrams.from_list(random_lists(30))
    whole = ALL[name](diagrams)
    monkeypatch.setattr(_batching, "_NUMBERS", 2000)
    np.testing.assert_allclose(ALL[name](diagrams), whole, atol=1e-15)


def test_threads_change_nothing():
    diagrams = Diagrams.from_list(random_lists(300, most=5))
    one, three = (landscapes(diagrams, GRID, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        landscapes(diagrams, GRID, threads=0)


@pytest.mark.parametrize("name", ALL)
def test_read_only_and_strided_memory_is_read(name):
    diagrams = Diagrams.from_list(random_lists(6))
    expected = ALL[name](diagrams)
    wide = np.zeros((len(diagrams.values), 5))
    wide[:, 1:4:2] = diagrams.values
    np.testing.assert_array_equal(ALL[name](Diagrams(wide[:, 1:4:2], diagrams.offsets)), expected)
    frozen = diagrams.values.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(ALL[name](Diagrams(frozen, diagrams.offsets)), expected)


@pytest.mark.parametrize("name", [name for name in ALL if "betti" not in name])
def test_classes_that_never_die_must_be_dropped_or_cut(name):
    diagrams = Diagrams.from_list([np.zeros((1, 2)), np.array([[0, 1], [0, np.inf]])])
    with pytest.raises(ValueError, match=r"point 2 of diagrams \(diagram 1\) is \[0.0, inf\]; drop .* finite\(\)"):
        ALL[name](diagrams)
    ALL[name](diagrams.finite())
    ALL[name](diagrams.cut(2.0))


def test_curves_refuse_births_that_are_not_finite_and_deaths_that_are_no_number():
    for bad in ([np.nan, 1], [-np.inf, 1], [0, np.nan]):
        with pytest.raises(ValueError, match=r"point 0 of diagrams .* births must be finite and deaths"):
            betti_curves(Diagrams.from_list([np.array([bad])]), GRID)


@pytest.mark.parametrize("name", ALL)
def test_other_things_than_diagrams_are_refused(name):
    with pytest.raises(TypeError, match=r"diagrams must be Diagrams .* got ndarray"):
        ALL[name](np.zeros((3, 2)))
    with pytest.raises(TypeError, match="uint8, float32, float64; got int32"):
        ALL[name](Diagrams.from_list([np.zeros((3, 2), np.int32)]))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([1.0, 0.0], "grid must be finite and rise strictly in float64"),
        ([0.0, 0.0], "rise strictly"),
        ([0.0, np.nan], "grid must be finite"),
        ([], r"shape \(G,\) with G >= 1; got \(0,\)"),
        (np.zeros((2, 2)), r"got \(2, 2\)"),
    ],
)
def test_grids_must_rise(grid, message):
    diagrams = Diagrams.from_list([np.zeros((1, 2))])
    for function in (betti_curves, landscapes, silhouettes):
        with pytest.raises(ValueError, match=message):
            function(diagrams, grid)


def test_a_grid_must_be_made_of_numbers_and_means_need_a_cell():
    diagrams = Diagrams.from_list([np.zeros((1, 2))])
    with pytest.raises(TypeError, match="grid must be a sequence of numbers; got str"):
        landscapes(diagrams, "fine")
    with pytest.raises(ValueError, match="G >= 2"):
        betti_curves(diagrams, [0.0], mean=True)
    np.testing.assert_array_equal(landscapes(diagrams, torch.tensor([0.0, 1.0])), np.zeros((1, 5, 2)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: landscapes(d, GRID, levels=0), ValueError, "levels must be at least 1; got 0"),
        (lambda d: landscapes(d, GRID, levels=2.0), TypeError, "levels must be an integer; got 2.0"),
        (lambda d: silhouettes(d, GRID, power=-1), ValueError, "power must be finite and at least 0; got -1"),
        (lambda d: total_persistence(d, power=0), ValueError, "power must be finite and above 0; got 0"),
        (lambda d: total_persistence(d, power="2"), TypeError, "power must be a number; got '2'"),
        (lambda d: sorted_lifetimes(d, True), TypeError, "count must be an integer; got True"),
        (lambda d: sorted_lifetimes(d, -1), ValueError, "count must be at least 1; got -1"),
    ],
)
def test_settings_out_of_range_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(Diagrams.from_list([np.zeros((1, 2))]))
