import math

import numpy as np
import pytest
from gudhi import representations as gudhi
from hypothesis import given, settings
from hypothesis import strategies as st
from some_diagrams import as_kind, differentiable, lists, plain, random_lists

from persistill.topology import Diagrams, betti_curves, euler_curves
from persistill.topology.vectorization import betti_curves as module

GRID = np.linspace(-0.5, 2, 61)
GRIDS = {
    "even": np.linspace(-2, 2, 33),
    "nearly even": np.linspace(-2, 2, 33) + 0.06 * np.sin(np.arange(33)),
    "uneven": np.array([-2.9, -2.0, -1.999, -0.125, 0.0, 0.001, 0.125, 2.0]),
    "one value": np.array([0.25]),
    "huge": np.array([-1.7e308, 0.0, 1.7e308]),
    "tiny": np.array([0.0, 5e-324, 1e-323]),
}


@pytest.fixture(params=["numpy", "torch"])
def kind(request):
    return request.param


@pytest.fixture
def some(kind):
    return as_kind(Diagrams.from_list(random_lists(30, digits=2)), kind)


def test_betti_curves_agree_with_gudhi(some):
    theirs = gudhi.BettiCurve(predefined_grid=GRID).fit_transform([plain(one) for one in some])
    np.testing.assert_array_equal(plain(betti_curves(some, GRID)), theirs)


def test_a_bar_is_closed_at_its_birth_and_open_at_its_death():
    sublevel = Diagrams.from_list([np.array([[1.0, 3.0], [2.0, np.inf], [2.0, 2.0]])])
    np.testing.assert_array_equal(betti_curves(sublevel, [0, 1, 2, 3, 4]), [[0, 1, 2, 1, 1]])
    superlevel = Diagrams.from_list([np.array([[3.0, 1.0], [2.0, -np.inf]])])
    np.testing.assert_array_equal(betti_curves(superlevel, [0, 1, 2, 3, 4]), [[1, 1, 2, 1, 0]])


@settings(deadline=None, max_examples=60)
@given(st.lists(lists(), min_size=1, max_size=3), st.sampled_from(sorted(GRIDS)), st.booleans(), st.booleans())
def test_curves_count_on_every_grid(diagrams, name, falling, endless):
    sign = -1 if falling else 1
    more = np.array([[-5.0, 0.0], [0.125, math.inf]])[: 2 if endless else 1]
    diagrams = [sign * np.concatenate([one, more]) for one in diagrams]
    grid = GRIDS[name]
    batch = Diagrams.from_list(diagrams)
    found = betti_curves(batch, grid)
    for curve, diagram in zip(found, diagrams, strict=True):
        for value, t in zip(curve, grid, strict=True):
            assert value == sum(d < t <= b if falling else b <= t < d for b, d in diagram)
    tensors = batch.torch()
    by_torch = module._counts(tensors.values, tensors.diagram_index, len(batch), tensors.values.new_tensor(grid))
    np.testing.assert_array_equal(by_torch, found)


def test_curves_of_many_diagrams_do_not_depend_on_threads(kind):
    diagrams = as_kind(Diagrams.from_list(random_lists(700, seed=1)), kind)
    one, three = (plain(betti_curves(diagrams, GRID, threads=threads)) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    alone = Diagrams.from_list([plain(diagrams[300]), plain(diagrams[301])])
    np.testing.assert_array_equal(one[300:302], plain(betti_curves(alone, GRID)))


@settings(deadline=None, max_examples=60)
@given(lists(superlevel=True))
def test_superlevel_curves_are_mirrored_sublevel_curves(diagram):
    grid = np.arange(-16, 17) / 8
    found = betti_curves(Diagrams.from_list([diagram]), grid)[0]
    np.testing.assert_array_equal(found, betti_curves(Diagrams.from_list([-diagram]), grid)[0, ::-1])
    np.testing.assert_array_equal(found, [sum(d < t <= b for b, d in diagram) for t in grid])


@settings(deadline=None, max_examples=60)
@given(lists(), st.sampled_from([np.array([-1.0, 0.0, 0.125, 2.0]), np.linspace(-4, 4, 9)]))
def test_means_of_betti_curves_are_overlaps_of_bars_and_cells(diagram, grid):
    found = betti_curves(Diagrams.from_list([diagram]), grid, mean=True)[0]
    for low, high, mean in zip(grid[:-1], grid[1:], found, strict=True):
        overlaps = sum(max(0.0, min(death, high) - max(birth, low)) for birth, death in diagram)
        assert mean == pytest.approx(overlaps / (high - low), abs=1e-12)


def test_means_count_classes_that_never_die_and_keep_their_gradients_finite():
    diagrams, values = differentiable(np.array([[0.5, np.inf], [0.25, 1.5]]))
    found = betti_curves(diagrams, [0.0, 1.0, 2.0], mean=True)
    np.testing.assert_allclose(plain(found), [[1.25, 1.5]])
    found.sum().backward()
    np.testing.assert_allclose(values.grad, [[-1, 0], [-1, 1]])


def test_means_of_many_bars_do_not_drift():
    rng = np.random.default_rng(0)
    values = np.sort(rng.random((20_000, 2)), 1).astype(np.float32)
    found = betti_curves(Diagrams.from_list([values]), np.linspace(-1, 2, 301), mean=True)[0]
    assert (found[:100] == 0).all()
    np.testing.assert_allclose(found[-99:], 0, atol=1e-3)
    assert np.abs(found[201:]).max() < 1e-3


def test_euler_curves_alternate(kind):
    parts = [random_lists(5, seed=seed) for seed in range(3)]
    diagrams = [as_kind(Diagrams.from_list(part, dimension=number), kind) for number, part in enumerate(parts)]
    zero, one, two = (plain(betti_curves(part, GRID)) for part in diagrams)
    np.testing.assert_array_equal(plain(euler_curves(diagrams, GRID)), zero - one + two)
    np.testing.assert_array_equal(plain(euler_curves([diagrams[1]], GRID)), -one)


def test_the_euler_characteristic_of_a_circle_and_of_a_disc():
    # A circle that is filled at 2: one component for ever, one loop from 1 to 2.
    components = Diagrams.from_list([np.array([[0.0, np.inf]])])
    loops = Diagrams.from_list([np.array([[1.0, 2.0]])], dimension=1)
    np.testing.assert_array_equal(euler_curves([components, loops], [-1, 0, 1, 2, 3]), [[0, 1, 0, 1, 1]])


def test_euler_curves_need_one_batch():
    one = Diagrams.from_list([np.zeros((1, 2))])
    with pytest.raises(ValueError, match=r"different dimensions; got \[0, 0\]"):
        euler_curves([one, one], GRID)
    two = Diagrams.from_list([np.zeros((1, 2))] * 2, dimension=1)
    with pytest.raises(ValueError, match=r"one shape; got \(1,\), \(2,\)"):
        euler_curves([one, two], GRID)
    with pytest.raises(ValueError, match="one Diagrams for each dimension"):
        euler_curves(one, GRID)
