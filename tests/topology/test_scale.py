"""Levels of 8-bit input stand for level / 255, whatever becomes of them: with and without classes that never die."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    betti_curves,
    bottleneck,
    cubical_persistence,
    euler_curves,
    fit_persistence_images,
    from_arrays,
    from_giotto,
    from_gudhi,
    from_nested,
    landscapes,
    load_diagrams,
    persistence_entropy,
    persistence_images,
    point_persistence_images,
    save_diagrams,
    silhouettes,
    sliced_wasserstein,
    sorted_lifetimes,
    sublevel_persistence,
    to_arrays,
    to_giotto,
    to_gudhi,
    to_nested,
    total_persistence,
    wasserstein,
)

GRID = np.linspace(0, 1, 9)
WINDOW = {"births": (0.0, 1.0), "persistences": (0.0, 1.0)}
IMAGE = PersistenceImageConfig((6, 5), 0.1, **WINDOW, min_persistence=0.0, grid="tiled", scaling="log", scale=0.5)
FUNCTIONS = {
    "persistence_images": lambda d: persistence_images(d, IMAGE),
    "persistence_images, max": lambda d: persistence_images(d, PersistenceImageConfig.tgd()),
    "point_persistence_images": lambda d: point_persistence_images(d, pixels=(4, 5), bandwidth=0.1, **WINDOW),
    "landscapes": lambda d: landscapes(d, GRID),
    "silhouettes": lambda d: silhouettes(d, GRID),
    "betti_curves": lambda d: betti_curves(d, GRID + 1e-3),
    "betti_curves, means": lambda d: betti_curves(d, GRID, mean=True),
    "persistence_entropy": persistence_entropy,
    "total_persistence": total_persistence,
    "sorted_lifetimes": lambda d: sorted_lifetimes(d, 3),
    "wasserstein": lambda d: wasserstein(d, shifted(d)),
    "bottleneck": lambda d: bottleneck(d, shifted(d)),
    "sliced_wasserstein": lambda d: sliced_wasserstein(d, shifted(d)),
    "to_nested": lambda d: np.concatenate([part for (part,) in to_nested([d])]),
    "to_gudhi": lambda d: np.array([bar for bars in to_gudhi([d]) for _, bar in bars]).reshape(-1, 2),
    "to_giotto": lambda d: to_giotto([d]),
}


def shifted(diagrams):
    """The diagrams with twice the lifetimes, in floats and without a scale."""
    units = diagrams.numpy().rescaled()
    values = np.stack([units.values[:, 0], 2 * units.values[:, 1] - units.values[:, 0]], 1)
    moved = Diagrams(values, units.offsets, units.shape)
    return moved.torch() if isinstance(diagrams.values, torch.Tensor) else moved


def levels():
    """Images of few levels (so that bars tie) or of all of them."""
    few = st.sampled_from([0, 1, 40, 254, 255])
    return arrays.arrays(np.uint8, (2, 3, 4), elements=st.one_of(few, st.integers(0, 255)))


def variants(images, superlevel):
    """Diagrams of levels in all the ways in which their unit could get lost, and those of images / 255."""
    options = {"superlevel": superlevel, "essential": True}
    found = {}
    for name, function, shape in (
        ("sublevel", sublevel_persistence, (2, 12)),
        ("cubical", lambda x, **o: cubical_persistence(x, dimensions=(0,), **o)[0], (2, 3, 4)),
    ):
        whole, units = images.reshape(shape), images.reshape(shape) / 255
        end = 0 if superlevel else 255
        expected = function(units, superlevel=superlevel)
        found[name] = function(whole, superlevel=superlevel), expected
        found[f"{name}, finite"] = function(whole, **options).finite(), expected
        found[f"{name}, tensors"] = function(torch.from_numpy(whole), **options).finite().numpy(), expected
        found[f"{name}, cut"] = function(whole, **options).cut(end), function(units, **options).cut(end / 255)
        kept = function(whole, **options).cut(end)
        found[f"{name}, kept"] = kept[:], function(units, **options).cut(end / 255)
        buffer = io.BytesIO()
        save_diagrams(buffer, function(whole, **options).cut(end))
        buffer.seek(0)
        found[f"{name}, saved"] = load_diagrams(buffer), function(units, **options).cut(end / 255)
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=12, deadline=None)
@given(images=levels(), superlevel=st.booleans())
def test_levels_give_what_their_fractions_give(name, images, superlevel):
    function = FUNCTIONS[name]
    for what, (found, expected) in variants(images, superlevel).items():
        assert found.scale == 255, what
        mine, theirs = np.asarray(function(found), np.float64), np.asarray(function(expected), np.float64)
        if name.startswith("to_"):
            mine, theirs = (np.unique(array.reshape(-1, array.shape[-1]).round(5), axis=0) for array in (mine, theirs))
        np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5, err_msg=what)


def test_dimensions_of_8_bit_images_go_together():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9), dtype=np.uint8)
    found, expected = cubical_persistence(images, essential=True), cubical_persistence(images / 255, essential=True)
    np.testing.assert_array_equal(euler_curves(found, GRID + 1e-3), euler_curves(expected, GRID + 1e-3))
    assert float(total_persistence(found[0].finite()).max()) < 81
    assert float(bottleneck(found[0], found[0].rescaled()).max()) < 1e-6


def test_a_window_is_fitted_in_the_same_units():
    images = np.random.default_rng(0).integers(0, 256, (20, 12, 12), dtype=np.uint8)
    (levels_,) = cubical_persistence(images, dimensions=(0,), essential=True)
    (units,) = cubical_persistence(images / 255, dimensions=(0,), essential=True)
    fitted, expected = fit_persistence_images(levels_.cut(255)), fit_persistence_images(units.cut(1.0))
    assert fitted.births == pytest.approx(expected.births)
    assert fitted.persistences == pytest.approx(expected.persistences)
    assert fitted.scale == pytest.approx(expected.scale, rel=1e-4)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_scale_goes_along(kind):
    values = np.array([[3, 90], [10, 200], [0, 255]], np.uint8)
    diagrams = Diagrams(values, np.array([0, 1, 3]))
    diagrams = diagrams.torch() if kind == "torch" else diagrams
    whole = diagrams.keep(diagrams.persistences > 0)
    for found in (
        whole,
        diagrams.finite(),
        diagrams.longer_than(1),
        diagrams.cut(7),
        diagrams.numpy(),
        diagrams.torch(),
        diagrams[:1],
        Diagrams.stack([diagrams, diagrams]),
        from_arrays(to_arrays(diagrams)),
    ):
        assert found.scale == 255
        assert "uint8" in str(found.values.dtype)
    units = diagrams.rescaled()
    assert units.scale == 1
    np.testing.assert_allclose(np.asarray(units.values), values / 255, rtol=1e-6)
    assert "scale=255" in repr(diagrams)
    assert "scale" not in repr(units)


def test_files_without_a_scale_are_read_by_their_dtype():
    arrays_ = to_arrays(Diagrams(np.array([[3, 90]], np.uint8), np.array([0, 1])))
    del arrays_["scale"]
    assert from_arrays(arrays_).scale == 255
    arrays_["values"] = arrays_["values"] / 255
    assert from_arrays(arrays_).scale == 1


def test_a_scale_of_ones_own_and_a_wrong_one():
    per_mille = Diagrams(np.array([[100, 600]], np.int64).astype(np.float64), np.array([0, 1]), scale=1000)
    assert total_persistence(per_mille).tolist() == [0.5]
    for scale in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match="scale must be finite and above 0"):
            Diagrams(np.zeros((0, 2)), np.array([0]), scale=scale)


def test_other_libraries_get_fractions_and_give_them_back():
    (diagrams,) = cubical_persistence(np.array([[0, 255, 51]], np.uint8), dimensions=(0,))
    assert to_gudhi([diagrams]) == [[(0, (pytest.approx(0.2), 1.0))]]
    for again in (
        from_gudhi(to_gudhi([diagrams]), [0])[0],
        from_nested(to_nested([diagrams]))[0],
        from_giotto(to_giotto([diagrams]))[0],
    ):
        assert again.scale == 1
        np.testing.assert_allclose(again.values, [[0.2, 1.0]], rtol=1e-6)


def test_gradients_are_those_of_the_fractions():
    values = torch.tensor([[10.0, 100.0], [0.0, 200.0]], requires_grad=True)
    levels_ = Diagrams(values, torch.tensor([0, 2]), scale=255)
    units = (values.detach() / 255).requires_grad_()
    for function in (total_persistence, lambda d: persistence_images(d, IMAGE).sum()):
        values.grad = units.grad = None
        function(levels_).sum().backward()
        function(Diagrams(units, levels_.offsets)).sum().backward()
        np.testing.assert_allclose(values.grad * 255, units.grad, rtol=1e-5)
