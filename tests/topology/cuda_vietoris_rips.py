"""Run by test_cuda.py, in a process of their own: on a GPU if there is one, else in Triton's interpreter."""

import numpy as np
import pytest
import torch
from hard_point_clouds import hard_point_clouds, matrix_tree_lengths, random_distances, tree_lengths

from persistill.topology._reference import vietoris_rips_h0 as reference
from persistill.topology._triton import vietoris_rips_h0 as kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HARD = {name: cloud for name, cloud in hard_point_clouds().items() if len(cloud) > 1 and cloud.size}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_clouds_agree_with_scipy(name, dtype):
    if dtype == torch.float32 and name in ("tiny", "huge"):
        pytest.skip("beyond float32")
    if dtype == torch.float64 and name == "131 points" and DEVICE == "cpu":
        pytest.skip("too slow in the interpreter")
    cloud = torch.from_numpy(HARD[name]).to(dtype)
    found = kernels.mst_lengths(cloud.to(DEVICE), distances=False).cpu()
    assert found.dtype == dtype
    assert (found.diff() >= 0).all()
    rtol = 2e-7 if dtype == torch.float32 else 1e-14
    np.testing.assert_allclose(found, tree_lengths(cloud.double().numpy()), rtol=rtol)


def test_float32_stays_exact_far_beyond_its_squares():
    random = torch.Generator().manual_seed(0)
    cloud = torch.randn(6, 3, generator=random)
    for scale in (2.0**-120, 2.0**120):
        found = kernels.mst_lengths((cloud * scale).to(DEVICE), distances=False).cpu()
        np.testing.assert_allclose(found / scale, tree_lengths(cloud.numpy()), rtol=2e-7)


def test_shapes_and_dtypes():
    clouds = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(0)).half()
    found = kernels.mst_lengths(clouds.to(DEVICE), distances=False)
    assert found.shape == (2, 3, 3)
    assert found.dtype == torch.float32
    turned = clouds.transpose(-1, -2).contiguous().transpose(-1, -2)
    assert torch.equal(kernels.mst_lengths(turned.to(DEVICE), distances=False), found)


def test_gradients_agree_with_torch():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(2, 12, 40, generator=random).to(DEVICE).requires_grad_()
    weights = torch.randn(2, 11, generator=random).to(DEVICE)
    gradients = [
        torch.autograd.grad((path.mst_lengths(points, distances=False) * weights).sum(), points)[0]
        for path in (kernels, reference)
    ]
    torch.testing.assert_close(*gradients)


def test_gradcheck_and_coincident_points():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(1, 4, 2, dtype=torch.float64, generator=random).to(DEVICE).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kernels.mst_lengths(x, distances=False), points)
    zeros = torch.zeros(1, 4, 3, device=DEVICE, requires_grad=True)
    kernels.mst_lengths(zeros, distances=False).sum().backward()
    assert not zeros.grad.any()


def test_distances_and_their_gradients():
    matrices = np.stack([random_distances(np.random.default_rng(seed), 15) for seed in range(2)])
    distances = torch.from_numpy(matrices).to(DEVICE).requires_grad_()
    found = kernels.mst_lengths(distances, distances=True)
    for matrix, lengths in zip(matrices, found, strict=True):
        np.testing.assert_allclose(lengths.detach().cpu(), matrix_tree_lengths(matrix), rtol=0)
    theirs = reference.mst_lengths(distances, distances=True)
    gradients = [torch.autograd.grad(lengths.square().sum(), distances)[0] for lengths in (found, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_only_the_upper_triangle_is_read():
    distances = torch.from_numpy(random_distances(np.random.default_rng(0), 9)).to(DEVICE)
    expected = kernels.mst_lengths(distances, distances=True)
    assert torch.equal(kernels.mst_lengths(distances.triu(), distances=True), expected)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_is_not_finite_stays_visible_and_harmless():
    clouds = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    clouds[1, 2, 0] = torch.nan
    clouds[2, 0, 1] = torch.inf
    clouds = clouds.to(DEVICE).requires_grad_()
    lengths = kernels.mst_lengths(clouds, distances=False)
    lengths.sum().backward()
    assert lengths.isnan().any(1).tolist() == [False, True, True]
    edges, _ = kernels.trees(torch.full((1, 6, 6), torch.nan, device=DEVICE), mirrored=True)
    assert edges.unique().tolist() == list(range(6))
