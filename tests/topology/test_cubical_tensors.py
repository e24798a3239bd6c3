import numpy as np
import pytest
import torch

from persistill.topology import cubical_persistence


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("essential", [False, True])
def test_tensors_give_what_arrays_give(dtype, essential):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 30, (2, 3, 9, 8))).to(dtype)
    arrays = cubical_persistence(images.numpy(), essential=essential)
    for tensor, array in zip(cubical_persistence(images, essential=essential), arrays, strict=True):
        assert all(isinstance(part, torch.Tensor) for part in (tensor.values, tensor.offsets, tensor.indices))
        assert tensor.values.numpy().dtype == array.values.dtype
        assert (tensor.shape, tensor.dimension) == (array.shape, array.dimension)
        np.testing.assert_array_equal(tensor.values, array.values)
        np.testing.assert_array_equal(tensor.offsets, array.offsets)
        np.testing.assert_array_equal(tensor.indices, array.indices)


def test_the_gradient_of_two_lifetimes_by_hand():
    # One component born at 2 joins that of 1 over the 5; the frame of 3 and less closes around the 9.
    image = torch.tensor(
        [
            [3.0, 3.0, 3.0, 5.0, 2.0],
            [3.0, 9.0, 3.0, 6.0, 6.0],
            [1.0, 2.5, 3.2, 7.0, 7.0],
        ],
        dtype=torch.float64,
        requires_grad=True,
    )
    components, holes = cubical_persistence(image)
    assert components.values.tolist() == [[2.0, 5.0]]
    assert holes.values.tolist() == [[3.0, 9.0]]
    # The loop closes over the last of the pixels of 3, at (1, 2); the pixel of 3.2 is not on the shortest loop.
    (3 * components.persistences.sum() + holes.persistences.square().sum()).backward()
    expected = torch.zeros(3, 5, dtype=torch.float64)
    expected[0, 4], expected[0, 3] = -3, 3
    expected[1, 2], expected[1, 1] = -12, 12
    torch.testing.assert_close(image.grad, expected, rtol=0, atol=0)


@pytest.mark.parametrize("construction", ["top_cells", "vertices"])
@pytest.mark.parametrize("superlevel", [False, True])
def test_gradients_agree_with_differences(construction, superlevel):
    # Pixels stand 0.1 apart, so that no step of the differences changes their order.
    order = torch.from_numpy(np.random.default_rng(1).permutation(2 * 6 * 7)).reshape(2, 6, 7)
    images = (order.double() / 10).requires_grad_()

    def lifetimes(x):
        found = cubical_persistence(x, construction=construction, superlevel=superlevel)
        return tuple(one.persistences.square() for one in found)

    assert all(len(part) > 2 for part in lifetimes(images))
    assert torch.autograd.gradcheck(lifetimes, images)


def test_gradients_are_finite_at_ties_and_without_points():
    ties = torch.from_numpy(np.random.default_rng(2).integers(0, 3, (4, 12, 12))).float().requires_grad_()
    found = cubical_persistence(ties, essential=True)
    sum(one.values[one.values.isfinite()].square().sum() for one in found).backward()
    assert ties.grad.isfinite().all()
    assert ties.grad.abs().sum() > 0
    for flat in (torch.ones(2, 5, 5, requires_grad=True), torch.ones(0, 5, 5, requires_grad=True)):
        sum(one.values.sum() for one in cubical_persistence(flat)).backward()
        assert torch.equal(flat.grad, torch.zeros_like(flat))


def test_infinite_deaths_pass_no_gradient():
    image = torch.tensor([[1.0, 4.0, 2.0]], requires_grad=True)
    components, _ = cubical_persistence(image, essential=True)
    assert components.values.tolist() == [[2.0, 4.0], [1.0, torch.inf]]
    components.cut(10.0).values.sum().backward()
    assert image.grad.tolist() == [[1.0, 1.0, 1.0]]


def test_gradients_reach_strided_tensors():
    whole = torch.rand(3, 16, 12, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    images = whole.movedim(-1, 1)[:, :, ::2]
    _, holes = cubical_persistence(images)
    holes.deaths.sum().backward()
    assert whole.grad.sum() == len(holes.values)
    assert not whole.grad[:, 1::2].any()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_named(wrong):
    for dtype in (np.float32, np.float64):
        images = np.zeros((2, 3, 5, 4), dtype)
        images[1, 2, 3, 1] = wrong
        for given in (images, torch.from_numpy(images)):
            with pytest.raises(ValueError, match=rf"images\[1, 2, 3, 1\] is {wrong}"):
                cubical_persistence(given)


@pytest.mark.parametrize(
    ("images", "kind", "match"),
    [
        ([[1, 2], [3, 4]], TypeError, "images must be a NumPy array or a torch tensor; got list"),
        (np.zeros((3, 3), np.int32), TypeError, "images must be uint8, float32 or float64; got int32"),
        (np.zeros((3, 3), np.float16), TypeError, "got float16"),
        (np.zeros((3, 3), bool), TypeError, "got bool"),
        (torch.zeros(3, 3, dtype=torch.bfloat16), TypeError, "got bfloat16"),
        (np.float64(3), TypeError, "got float64"),
        (np.array(3.0), ValueError, r"shape \(..., H, W\) with no side 0; got \(\)"),
        (np.zeros(5), ValueError, r"got \(5,\)"),
        (np.zeros((2, 0, 5)), ValueError, r"got \(2, 0, 5\)"),
        (torch.zeros(2, 5, 0), ValueError, r"got \(2, 5, 0\)"),
        (np.broadcast_to(np.uint8(0), (1 << 16, 1 << 15)), ValueError, "at most 1073741824 pixels"),
    ],
)
def test_wrong_images_are_refused(images, kind, match):
    with pytest.raises(kind, match=match):
        cubical_persistence(images)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"dimensions": ()}, "dimensions must be"),
        ({"dimensions": (2,)}, r"got \(2,\)"),
        ({"dimensions": (0, 0)}, "dimensions must be"),
        ({"dimensions": 1}, "got 1"),
        ({"construction": "cells"}, "'top_cells' or 'vertices'; got 'cells'"),
        ({"min_persistence": -1}, "min_persistence must be 0 or more; got -1"),
        ({"min_persistence": float("nan")}, "min_persistence"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        cubical_persistence(np.zeros((3, 3)), **settings)
