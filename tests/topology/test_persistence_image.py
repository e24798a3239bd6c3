import dataclasses
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hard_signals import gudhi_diagram, hard_signals, image_by_formula, path_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from persim import PersImage
from ripser import ripser

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    fit_persistence_images,
    persistence_images,
    rows,
    sublevel_persistence,
)
from persistill.topology._reference.persistence_image import persistence_images as reference_images
from persistill.topology.persistence_image._autograd import unscaled_images
from persistill.topology.persistence_image._tables import kernel_settings

HARD = hard_signals()
TGD = PersistenceImageConfig.tgd()


@pytest.fixture
def some_diagrams():
    rng = np.random.default_rng(4)
    births = rng.random(60) * 0.5
    return Diagrams(np.stack([births, births + rng.random(60) * 0.4], 1), np.array([0, 25, 25, 40, 60]))


def draw_with_persim(diagram):
    """What the TGD paper's code computes before it rounds to 8 bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        imager = PersImage(pixels=[50, 50], spread=0.01, specs={"minBD": 0, "maxBD": 0.3}, verbose=False)
    diagram = diagram[diagram[:, 1] - diagram[:, 0] > 0.02]
    image = imager.transform(diagram)
    return image / image.max() if image.max() > 0 else image


@pytest.fixture(scope="session")
def persim_images():
    """(n, 50, 50) float64 for the hard signals."""
    return np.stack([draw_with_persim(gudhi_diagram(signal / 255)) for signal in HARD.values()])


def test_the_published_preset_states_its_parameters():
    assert dataclasses.asdict(TGD) == {
        "pixels": (50, 50),
        "bandwidth": 0.01,
        "births": (0.0, 0.3),
        "persistences": (0.0, 0.3),
        "min_persistence": 0.02,
        "weight": "linear",
        "grid": "published",
        "scaling": "max",
        "scale": 1.0,
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_hard_signals_agree_with_persim(persim_images, dtype):
    for (name, signal), expected in zip(HARD.items(), persim_images, strict=True):
        found = persistence_images(sublevel_persistence(signal if dtype == np.uint8 else signal / 255), TGD)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


def test_some_hard_signals_are_tails_and_some_vanish(persim_images):
    # Without these the test above would not see what divides tails of 1e-300 by their maximum.
    highest = persim_images.max((1, 2))
    assert 0 < (highest == 0).sum() < len(HARD)
    diagram = gudhi_diagram(HARD["far beyond the births"] / 255)
    raw = image_by_formula(diagram, TGD.edges("persistences"), TGD.edges("births"), TGD.bandwidth)
    assert raw.max() < 1e-300
    diagram = gudhi_diagram(HARD["beyond the persistences"] / 255)
    raw = image_by_formula(diagram, TGD.edges("persistences"), TGD.edges("births"), TGD.bandwidth)
    assert 0 < raw.max() < 1e-30


def test_real_images_agree_with_persim(cifar):
    signals = rows(cifar([1361, 2741, 68]))
    found = persistence_images(sublevel_persistence(signals), TGD)
    for b in range(3):
        expected = draw_with_persim(gudhi_diagram(signals[b, 0] / 255))
        np.testing.assert_allclose(found[b, 0], expected, atol=1e-6)


def test_ripsers_diagrams_differ_by_its_float32(cifar):
    signal = rows(cifar([1361]))[0, 0] / 255
    theirs = ripser(path_matrix(signal), maxdim=0, distance_matrix=True)["dgms"][0]
    theirs = theirs[np.isfinite(theirs[:, 1]) & (theirs[:, 1] - theirs[:, 0] > 1e-3)].astype(np.float64)
    found = persistence_images(sublevel_persistence(signal), TGD)
    np.testing.assert_allclose(found, draw_with_persim(theirs), atol=2e-5)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0, 1.5)), max_size=12),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.floats(0.005, 0.3),
    st.tuples(st.floats(-0.3, 0.2), st.floats(0.3, 1.2)),
    st.tuples(st.floats(0, 0.2), st.floats(0.3, 1.2)),
    st.sampled_from(["published", "tiled"]),
)
def test_any_window_agrees_with_the_formula(points, pixels, bandwidth, births, persistences, grid):
    diagram = np.array([(birth, birth + length) for birth, length in points]).reshape(-1, 2)
    chosen = PersistenceImageConfig(
        pixels=pixels,
        bandwidth=bandwidth,
        births=births,
        persistences=persistences,
        min_persistence=0.0,
        grid=grid,
        scaling="none",
    )
    found = persistence_images(Diagrams.from_list([diagram]), chosen)[0]
    expected = image_by_formula(diagram, chosen.edges("persistences"), chosen.edges("births"), bandwidth)
    np.testing.assert_allclose(found, expected, atol=1e-6 * max(1, len(points)))


def test_the_published_grid_has_gaps_and_the_tiled_one_has_none():
    low, high = TGD.edges("births")
    assert low[0] == 0
    assert low[-1] == 0.3
    np.testing.assert_allclose(high - low, 0.3 / 50)
    assert (low[1:] > high[:-1]).all()
    assert high[-1] == pytest.approx(0.306)
    tiled = dataclasses.replace(TGD, grid="tiled")
    low, high = tiled.edges("persistences")
    np.testing.assert_array_equal(low[1:], high[:-1])
    assert (low[0], high[-1]) == (0, 0.3)


def test_row_0_is_the_largest_persistence_and_column_0_the_lowest_birth():
    chosen = PersistenceImageConfig(pixels=(4, 8), births=(0, 0.8), persistences=(0, 0.4), grid="tiled")
    image = persistence_images(Diagrams.from_list([np.array([[0.05, 0.40]])]), chosen)[0]
    assert image.shape == (4, 8)
    assert np.unravel_index(image.argmax(), image.shape) == (0, 0)
    image = persistence_images(Diagrams.from_list([np.array([[0.75, 0.80]])]), chosen)[0]
    assert np.unravel_index(image.argmax(), image.shape) == (3, 7)


def test_weights_and_scalings(some_diagrams):
    plain = dataclasses.replace(TGD, grid="tiled", scaling="none")
    linear = persistence_images(some_diagrams, plain)
    largest = linear.max((1, 2), keepdims=True)
    expected = np.divide(linear, largest, where=largest > 0, out=np.zeros_like(linear))
    np.testing.assert_allclose(
        persistence_images(some_diagrams, dataclasses.replace(plain, scaling="max")), expected, atol=1e-6
    )
    logarithmic = persistence_images(some_diagrams, dataclasses.replace(plain, scaling="log", scale=0.05))
    np.testing.assert_allclose(logarithmic, np.log1p(linear / 0.05), rtol=1e-5, atol=1e-7)
    one = Diagrams.from_list([np.array([[0.1, 0.35]])])
    constant = dataclasses.replace(plain, weight="constant")
    np.testing.assert_allclose(persistence_images(one, constant) * 0.25, persistence_images(one, plain), rtol=1e-6)
    # All of a Gaussian well inside a window without gaps is in the image.
    inside = dataclasses.replace(constant, births=(0, 0.6), persistences=(0, 0.6))
    assert persistence_images(one, inside).sum() == pytest.approx(1)


def test_empty_diagrams_give_images_of_zeros(some_diagrams):
    found = persistence_images(some_diagrams, TGD)
    assert found.shape == (4, 50, 50)
    assert not found[1].any()
    assert found[[0, 2, 3]].max((1, 2)).tolist() == [1, 1, 1]
    assert persistence_images(Diagrams(np.zeros((0, 2)), np.array([0]), (0, 3)), TGD).shape == (0, 3, 50, 50)


def test_only_bars_longer_than_the_least_are_drawn():
    levels = Diagrams.from_list([np.array([[20, 25]], np.uint8), np.array([[20, 26]], np.uint8)])
    assert persistence_images(levels, TGD).max((1, 2)).tolist() == [0, 1]


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(25)))
def test_the_order_of_points_and_copies_of_a_diagram_do_not_matter(order):
    rng = np.random.default_rng(6)
    births = rng.random(25) * 0.4
    diagram = np.stack([births, births + rng.random(25) * 0.4], 1)
    one, other, twice = persistence_images(
        Diagrams.from_list([diagram, diagram[order], np.concatenate([diagram, diagram])]), TGD
    )
    np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_allclose(one, twice, atol=1e-6)


def test_superlevel_diagrams_are_drawn_alike():
    signal = np.random.default_rng(7).random(400)
    found = persistence_images(sublevel_persistence(signal[None], superlevel=True), TGD)
    upright = sublevel_persistence(signal, superlevel=True)
    same = Diagrams(np.stack([upright.births, upright.births + upright.persistences], 1), upright.offsets)
    np.testing.assert_allclose(found, persistence_images(same, TGD), atol=1e-6)


def test_tensors_give_what_arrays_give_with_and_without_gradients(some_diagrams):
    expected = persistence_images(some_diagrams, TGD)
    tensors = some_diagrams.torch()
    np.testing.assert_array_equal(persistence_images(tensors, TGD).numpy(), expected)
    tensors.values.requires_grad_()
    drawn = persistence_images(tensors, TGD)
    np.testing.assert_allclose(drawn.detach().numpy(), expected, atol=1e-6)
    drawn.square().sum().backward()
    assert torch.isfinite(tensors.values.grad).all()
    assert (tensors.values.grad != 0).any()


@pytest.mark.parametrize("scaling", ["max", "log", "none"])
@pytest.mark.parametrize("linear", [True, False])
def test_gradients_agree_with_finite_differences(scaling, linear):
    chosen = PersistenceImageConfig(
        (4, 3), bandwidth=0.1, births=(0, 0.6), persistences=(0, 0.6), grid="tiled", scaling=scaling
    )
    columns, lines = ([torch.from_numpy(edge) for edge in chosen.edges(axis)] for axis in ("births", "persistences"))
    points = torch.tensor([[0.1, 0.3], [0.3, 0.7], [0.31, 0.55]], dtype=torch.float64, requires_grad=True)

    def draw(diagram):
        return reference_images(
            diagram,
            columns=tuple(columns),
            rows=tuple(lines),
            bandwidth=0.1,
            min_persistence=0.02,
            linear=linear,
            scaling=scaling,
            scale=0.3,
        )

    assert torch.autograd.gradcheck(draw, points)


@pytest.mark.parametrize("scaling", ["max", "log", "none"])
@pytest.mark.parametrize("weight", ["linear", "constant"])
@pytest.mark.parametrize("grid", ["published", "tiled"])
def test_gradients_of_the_kernel_agree_with_the_reference(some_diagrams, scaling, weight, grid):
    chosen = dataclasses.replace(TGD, weight=weight, grid=grid, scaling=scaling, scale=0.05)
    # One diagram of tails, one upside down (as of superlevel sets), and two points that are too short.
    more = [np.array([[0.5, 0.7], [0.62, 0.9]]), np.array([[0.3, 0.1], [0.25, 0.24], [0.1, 0.1]])]
    diagrams = Diagrams.from_list([*some_diagrams, *more]).torch()
    columns, lines = ([torch.from_numpy(edge) for edge in chosen.edges(axis)] for axis in ("births", "persistences"))
    direction = torch.rand(6, 50, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = diagrams.values.clone().requires_grad_()
    (persistence_images(Diagrams(values, diagrams.offsets), chosen) * direction).sum().backward()
    expected = diagrams.values.clone().requires_grad_()
    for number, diagram in enumerate(Diagrams(expected, diagrams.offsets)):
        image = reference_images(
            diagram,
            columns=tuple(columns),
            rows=tuple(lines),
            bandwidth=chosen.bandwidth,
            min_persistence=chosen.min_persistence,
            linear=weight == "linear",
            scaling=scaling,
            scale=chosen.scale,
        )
        (image * direction[number]).sum().backward()
    scale = expected.grad.abs().max()
    np.testing.assert_allclose(values.grad / scale, expected.grad / scale, atol=1e-6)
    assert (values.grad[-2:] == 0).all()


def test_gradients_reach_the_signal_through_diagram_and_image():
    signals = torch.rand(3, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    chosen = PersistenceImageConfig((4, 3), 0.1, (0, 1), (0, 1), grid="tiled", scaling="none")

    def drawn(x):
        diagrams = sublevel_persistence(x)
        settings = kernel_settings(chosen)._replace(limit=math.inf)
        return unscaled_images(diagrams.values, diagrams.offsets, settings, 1)

    assert torch.autograd.gradcheck(drawn, signals)


def test_gradients_of_tails_and_of_nothing_are_finite():
    far = np.array([[0.6, 0.65]])
    for points in (far, np.zeros((0, 2)), np.array([[0.999, 1.9]])):
        values = torch.from_numpy(points.copy()).requires_grad_()
        persistence_images(Diagrams(values, torch.tensor([0, len(points)])), TGD).sum().backward()
        assert torch.isfinite(values.grad).all()


def test_points_that_are_not_finite_are_refused():
    diagrams = sublevel_persistence(np.array([0.1, 0.5, 0.2]), essential=True)
    with pytest.raises(ValueError, match=r"point 1 of the diagrams is \[0.1 inf\]; drop .* finite\(\).* cut\(\)"):
        persistence_images(diagrams, TGD)
    assert persistence_images(diagrams.finite(), TGD).max() == 1


def test_a_fitted_window_holds_the_training_persistence(cifar):
    diagrams = sublevel_persistence(rows(cifar(list(range(0, 200, 5)))))
    fitted = fit_persistence_images(diagrams, quantile=0.95)
    values = diagrams.longer_than(5).values / 255.0
    lengths = values[:, 1] - values[:, 0]
    low, high = fitted.births
    inside = (values[:, 0] >= low) & (values[:, 0] <= high)
    assert lengths[inside].sum() / lengths.sum() >= 0.9
    assert lengths[lengths <= fitted.persistences[1]].sum() / lengths.sum() >= 0.95
    assert fitted.pixels == (32, 32)
    assert fitted.scaling == "log"
    raw = persistence_images(diagrams, dataclasses.replace(fitted, scaling="none"))
    assert fitted.scale == pytest.approx(raw.mean(dtype=np.float64), rel=1e-3)


def test_fitting_ignores_the_number_format_of_the_values(cifar):
    images = rows(cifar([3, 4, 5]))
    levels = fit_persistence_images(sublevel_persistence(images))
    floats = fit_persistence_images(sublevel_persistence(torch.from_numpy(images / 255)))
    for field in dataclasses.fields(levels):
        if field.name not in ("weight", "grid", "scaling"):
            assert getattr(levels, field.name) == pytest.approx(getattr(floats, field.name))


def test_fitted_settings_survive_json(cifar):
    fitted = fit_persistence_images(sublevel_persistence(rows(cifar([1, 2]))))
    assert PersistenceImageConfig.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted
    with pytest.raises(ValueError, match="unknown fields of PersistenceImageConfig: spread"):
        PersistenceImageConfig.from_json({"spread": 0.01})


def test_fitting_needs_bars():
    flat = sublevel_persistence(np.zeros((3, 10)))
    with pytest.raises(ValueError, match=r"no finite bar longer than min_persistence=0\.02"):
        fit_persistence_images(flat)
    with pytest.raises(ValueError, match=r"quantile must be above 0\.5 and at most 1; got 0\.2"):
        fit_persistence_images(flat, quantile=0.2)


def test_equal_births_lie_in_the_middle_of_a_fitted_window():
    same = Diagrams.from_list([np.array([[0.5, 0.8], [0.5, 0.9]])])
    fitted = fit_persistence_images(same)
    assert fitted.births == pytest.approx((0.3, 0.7))
    assert fitted.persistences == pytest.approx((0.0, 0.4))
    assert persistence_images(same, fitted).any()


def test_a_window_contains_its_edges_and_nothing_beyond():
    window = PersistenceImageConfig(births=(0.25, 0.5), persistences=(0.0, 0.5))
    births, persistences = np.array([0.25, 0.5, 0.5, 0.75, 0.0]), np.array([0.5, 0.0, 0.75, 0.25, 0.25])
    assert window.contains(births, persistences).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"pixels": (0, 5)}, ValueError, r"pixels must be at least \(1, 1\); got \(0, 5\)"),
        ({"pixels": (5.0, 5)}, TypeError, "pixels must be two integers"),
        ({"pixels": 50}, TypeError, "pixels must be a pair; got 50"),
        ({"bandwidth": 0.0}, ValueError, "bandwidth must be above 0; got 0.0"),
        ({"bandwidth": float("nan")}, ValueError, "bandwidth must be finite"),
        ({"bandwidth": "small"}, TypeError, "bandwidth must be made of numbers; got 'small'"),
        ({"births": (0.3, 0.0)}, ValueError, r"births must be \(low, high\), low < high; got \(0.3, 0.0\)"),
        ({"births": (0.0, float("inf"))}, ValueError, "births must be finite"),
        ({"persistences": (0.0, 0.1, 0.2)}, TypeError, "persistences must be a pair"),
        ({"min_persistence": -0.1}, ValueError, "min_persistence must be 0 or more; got -0.1"),
        ({"weight": "quadratic"}, ValueError, "weight must be one of 'linear', 'constant'; got 'quadratic'"),
        ({"grid": "even"}, ValueError, "grid must be one of 'published', 'tiled'; got 'even'"),
        ({"scaling": "sqrt"}, ValueError, "scaling must be one of 'max', 'log', 'none'; got 'sqrt'"),
        ({"scale": 0.0}, ValueError, "scale must be above 0; got 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, kind, message):
    with pytest.raises(kind, match=message):
        PersistenceImageConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"bandwidth": 1e-320}, r"bandwidth must be between 1e-30 and 1e\+30 in size; got 1e-320"),
        ({"bandwidth": 1e308}, "bandwidth must be between"),
        ({"scale": 10**400}, "scale must be .* got a whole number beyond"),
        ({"births": (-1e308, 1e308)}, "births must be between"),
        ({"births": (1.0, 1.0 + 1e-15)}, "births must be further apart"),
    ],
)
def test_numbers_that_kernels_cannot_compute_with_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        PersistenceImageConfig(**fields)


def test_numbers_at_the_bounds_are_computed_with():
    diagrams = Diagrams.from_list([[(0.0, 0.5), (0.2, 0.9)], [(1e29, 5e29)], [(1e-30, 3e-30)]])
    for bandwidth in (1e-30, 1e30):
        for window in ((-1e30, 1e30), (0.0, 1e-29), (0.0, 1.0)):
            images = persistence_images(diagrams, PersistenceImageConfig((3, 4), bandwidth, window, window))
            assert np.isfinite(images).all()
