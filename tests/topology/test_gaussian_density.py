import math

import numpy as np
import pytest
import torch
from gudhi.representations import PersistenceImage
from hypothesis import given, settings
from hypothesis import strategies as st
from some_diagrams import as_kind, differentiable, lists, plain, random_lists

from persistill.topology import Diagrams, point_persistence_images
from persistill.topology.vectorization import _batching

TOPKD = {"bandwidth": 0.07, "births": (0.0, 1.0), "persistences": (0.0, 0.6), "weight": "topkd"}
WEIGHTS = {
    "constant": lambda point: 1,
    "linear": lambda point: point[1],
    "topkd": lambda point: 10 * np.tanh(point[1]) + 10 * np.log(100 * point[0] + 1),
}


@pytest.fixture(params=["numpy", "torch"])
def kind(request):
    return request.param


def above_zero(diagrams):
    """The diagrams with births above 0, as the weight of TopKD needs them."""
    return [diagram[diagram[:, 0] > 0] for diagram in diagrams]


def draw_with_gudhi(diagrams, pixels, bandwidth, births, persistences, weight):
    drawn = PersistenceImage(
        bandwidth=bandwidth,
        weight=WEIGHTS[weight],
        resolution=[pixels[1], pixels[0]],
        im_range=[*births, *persistences],
    ).fit_transform(diagrams)
    return drawn.reshape(-1, *pixels)[:, ::-1]


@pytest.mark.parametrize("weight", WEIGHTS)
def test_images_agree_with_gudhi(kind, weight):
    diagrams = above_zero(random_lists(20))
    settings = TOPKD | {"weight": weight}
    found = point_persistence_images(as_kind(Diagrams.from_list(diagrams), kind), pixels=(20, 14), **settings)
    assert found.shape == (20, 20, 14)
    expected = draw_with_gudhi(diagrams, (20, 14), **settings)
    np.testing.assert_allclose(plain(found), expected, atol=1e-12 * expected.max())
    assert (plain(found)[0] == 0).all()


def test_equal_births_as_topkd_has_them_agree_with_gudhi(kind):
    # All births are 0 and so is the window along them: all columns are equal.
    rng = np.random.default_rng(0)
    diagrams = [np.stack([np.zeros(63), rng.exponential(0.2, 63)], 1) for _ in range(9)]
    settings = TOPKD | {"births": (0.0, 0.0)}
    found = plain(point_persistence_images(as_kind(Diagrams.from_list(diagrams), kind), **settings))
    expected = draw_with_gudhi(diagrams, (20, 20), **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (found == found[:, :, :1]).all()


@pytest.mark.parametrize("births", [True, False])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_the_kernel_for_float32_agrees_with_gudhi_to_its_precision(weight, births):
    # The last diagrams have more points than the kernel takes at a time.
    rng = np.random.default_rng(3)
    large = [rng.random((count, 2)) * [0.2, 0.7] + [0, 0.2] for count in (256, 257, 700)]
    diagrams = [*above_zero(random_lists(20)), *large]
    if not births:
        diagrams = [diagram * [0, 1] for diagram in diagrams]
    single = [diagram.astype(np.float32) for diagram in diagrams]
    settings = TOPKD | {"weight": weight}
    expected = draw_with_gudhi([diagram.astype(np.float64) for diagram in single], (20, 14), **settings)
    highest = expected.max((1, 2), keepdims=True)
    assert (highest[1:] > 0).all()
    found = point_persistence_images(Diagrams.from_list(single), pixels=(20, 14), **settings)
    assert found.dtype == np.float32
    assert (np.abs(found - expected) <= 5e-7 * highest).all()
    again = point_persistence_images(Diagrams.from_list(single), pixels=(20, 14), threads=3, **settings)
    np.testing.assert_array_equal(found, again)


@settings(deadline=None, max_examples=40)
@given(lists(), st.integers(1, 4), st.integers(1, 40), st.floats(0.01, 2))
def test_the_kernel_for_float32_agrees_with_the_reference(diagram, rows, columns, bandwidth):
    shape = {"pixels": (rows, columns), "bandwidth": bandwidth, "births": (-1.0, 2.0), "persistences": (0.0, 3.0)}
    single = diagram.astype(np.float32)
    found = point_persistence_images(Diagrams.from_list([single]), **shape)
    expected = point_persistence_images(Diagrams.from_list([single.astype(np.float64)]), **shape)
    # Lifetimes are rounded to float32, which counts in units of the bandwidth.
    np.testing.assert_allclose(found, expected, atol=1e-6 * (1 + 1 / bandwidth**3), rtol=0)


def test_far_tails_of_the_kernel_end_and_overflow_nowhere():
    single = np.array([[-1e30, 1e30], [0.0, 0.5], [0.5, 1e20]], np.float32)
    found = point_persistence_images(Diagrams.from_list([single, single[:1]]), **TOPKD | {"weight": "constant"})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0].max(), 1 / (2 * math.pi * 0.07**2), rtol=0.05)
    assert found[1].max() < 1e-30


@settings(deadline=None, max_examples=40)
@given(lists(), lists(superlevel=True), st.integers(1, 4), st.integers(1, 4), st.floats(0.05, 2))
def test_any_image_agrees_with_the_formula(first, second, rows, columns, bandwidth):
    found = point_persistence_images(
        Diagrams.from_list([first, second]),
        pixels=(rows, columns),
        bandwidth=bandwidth,
        births=(-1.0, 2.0),
        persistences=(0.0, 3.0),
    )
    for diagram, image in zip((first, second), found, strict=True):
        for row in range(rows):
            for column in range(columns):
                x = -1 + 3 * column / max(1, columns - 1)
                y = 3 * (rows - 1 - row) / max(1, rows - 1)
                value = sum(
                    abs(death - birth)
                    / (2 * math.pi * bandwidth**2)
                    * math.exp(-((birth - x) ** 2 + (abs(death - birth) - y) ** 2) / (2 * bandwidth**2))
                    for birth, death in diagram
                )
                assert image[row, column] == pytest.approx(value, abs=1e-9)


def test_row_0_is_the_largest_persistence_and_column_0_the_lowest_birth():
    diagrams = Diagrams.from_list([np.array([[0.0, 1.0]]), np.array([[1.0, 1.5]])])
    found = point_persistence_images(diagrams, pixels=(3, 4), bandwidth=0.1, births=(0, 1), persistences=(0, 1))
    assert [np.unravel_index(image.argmax(), (3, 4)) for image in found] == [(0, 0), (1, 3)]
    # At its own place a point is the height of the density times its weight.
    assert found[0, 0, 0] == pytest.approx(1 / (2 * math.pi * 0.01))


def test_weights_may_be_functions_of_the_diagrams_kind(kind):
    diagrams = as_kind(Diagrams.from_list(random_lists(5)), kind)
    seen = []

    def weight(births, persistences):
        seen.append(type(births))
        return persistences * 2

    settings = TOPKD | {"weight": weight}
    found = point_persistence_images(diagrams, **settings)
    assert seen == [type(diagrams.values)]
    expected = point_persistence_images(diagrams, **TOPKD | {"weight": "linear"})
    np.testing.assert_allclose(plain(found), 2 * plain(expected), atol=1e-12)


@pytest.mark.parametrize("weight", [*WEIGHTS, lambda births, persistences: births**2 + persistences])
def test_gradients_agree_with_differences(weight):
    diagrams, values = differentiable(np.empty((0, 2)), *above_zero(random_lists(4, most=5, seed=2)))

    def function(points):
        return point_persistence_images(
            Diagrams(points, diagrams.offsets), pixels=(3, 4), **TOPKD | {"bandwidth": 0.2, "weight": weight}
        )

    assert torch.autograd.gradcheck(function, values)


def test_equal_births_have_their_own_gradients():
    diagrams, values = differentiable(np.array([[0.0, 0.5], [0.0, 0.2]]))

    def function(points):
        return point_persistence_images(Diagrams(points, diagrams.offsets), pixels=(3, 4), **TOPKD)

    assert torch.autograd.gradcheck(function, values)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_values_are_the_same_with_gradients(weight):
    diagrams, values = differentiable(*above_zero(random_lists(12)))
    with_gradients = point_persistence_images(diagrams, **TOPKD | {"weight": weight})
    assert with_gradients.requires_grad
    found = point_persistence_images(Diagrams(values.detach(), diagrams.offsets), **TOPKD | {"weight": weight})
    np.testing.assert_allclose(plain(with_gradients), found, atol=1e-12)


def test_gradients_are_finite_on_the_diagonal_and_without_points():
    for parts in ([np.zeros((3, 2))], [np.empty((0, 2))]):
        diagrams, values = differentiable(*parts)
        point_persistence_images(diagrams, **TOPKD).sum().backward()
        assert values.grad.isfinite().all()


def test_shapes_blocks_and_autocast(monkeypatch):
    lists_ = above_zero(random_lists(12))
    diagrams = Diagrams(np.concatenate(lists_), Diagrams.from_list(lists_).offsets, (3, 4)).torch()
    expected = point_persistence_images(diagrams, **TOPKD)
    assert expected.shape == (3, 4, 20, 20)
    leaf = diagrams.values.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = point_persistence_images(Diagrams(leaf, diagrams.offsets, (3, 4)), **TOPKD)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach(), expected, atol=1e-5 * expected.max())
    monkeypatch.setattr(_batching, "_NUMBERS", 3000)
    np.testing.assert_allclose(point_persistence_images(diagrams, **TOPKD), expected, rtol=1e-12)


def test_levels_stand_for_parts_of_255():
    levels = np.array([[10, 200], [30, 31]], np.uint8)
    found = point_persistence_images(Diagrams.from_list([levels]), **TOPKD)
    expected = point_persistence_images(Diagrams.from_list([levels.astype(np.float32) / 255]), **TOPKD)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pixels": 20}, TypeError, r"pixels must be \(rows, columns\); got 20"),
        ({"pixels": (0, 5)}, ValueError, "pixels must be at least 1; got 0"),
        ({"bandwidth": 0.0}, ValueError, "bandwidth must be finite and above 0; got 0.0"),
        ({"births": 1.0}, TypeError, r"births must be \(first, last\); got 1.0"),
        ({"persistences": (1.0, 0.0)}, ValueError, r"persistences must be .* got \(1.0, 0.0\)"),
        ({"births": (0.0, np.inf)}, ValueError, "births must be finite"),
        (
            {"weight": "cubic"},
            ValueError,
            "weight must be a function or one of 'constant', 'linear', 'topkd'; got 'cubic'",
        ),
        (
            {"weight": lambda births, persistences: births[:1]},
            ValueError,
            r"weight must return shape \(2,\); got \(1,\)",
        ),
        (
            {"weight": lambda births, persistences: births / 0},
            ValueError,
            "the weight of point 0 .* weights must be finite",
        ),
    ],
)
def test_settings_out_of_range_are_refused(change, error, message):
    diagrams = Diagrams.from_list([np.array([[0.1, 0.2], [0.2, 0.4]])]).torch()
    with pytest.raises(error, match=message):
        point_persistence_images(diagrams, **TOPKD | change)


def test_topkds_weight_has_no_value_for_low_births():
    diagrams = Diagrams.from_list([np.array([[0.1, 0.2], [-0.5, 0.4]])]).torch()
    with pytest.raises(ValueError, match=r"the weight of point 1 \(birth -0.5, persistence 0.9\) is nan"):
        point_persistence_images(diagrams, **TOPKD)
    with pytest.raises(ValueError, match=r"point 0 of diagrams \(diagram 0\)"):
        point_persistence_images(Diagrams.from_list([np.array([[0, np.inf]])]), **TOPKD)
