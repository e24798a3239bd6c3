import numpy as np
import pytest
import torch
from hard_point_clouds import hard_point_clouds, random_distances, tree_lengths
from torch._subclasses.fake_tensor import FakeTensorMode

from persistill.topology._reference import vietoris_rips_h0 as reference
from persistill.topology.homology.vietoris_rips import mst_lengths

HARD = hard_point_clouds()


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_path_for_other_devices_agrees_with_scipy(name, dtype):
    if dtype == torch.float32 and name in ("tiny", "huge"):
        pytest.skip("beyond float32")
    cloud = torch.from_numpy(HARD[name]).to(dtype)
    found = reference.mst_lengths(cloud, distances=False)
    assert found.dtype == dtype
    rtol = 2e-6 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(found, tree_lengths(cloud.double().numpy()), rtol=rtol)


@pytest.mark.parametrize("shape", [(0, 5, 3), (4, 0, 3), (4, 1, 3), (4, 5, 0), (2, 3, 6, 2), (5, 3)])
def test_shapes(shape):
    clouds = torch.randn(shape, requires_grad=True)
    found = reference.mst_lengths(clouds, distances=False)
    torch.testing.assert_close(found, mst_lengths(clouds))
    found.sum().backward()
    assert clouds.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_gradients_agree_with_the_kernels(dtype):
    random = torch.Generator().manual_seed(0)
    points = torch.randn(3, 20, 5, generator=random).to(dtype).requires_grad_()
    weights = torch.randn(3, 19, generator=random)
    gradients = [
        torch.autograd.grad((lengths * weights).sum(), points)[0]
        for lengths in (mst_lengths(points), reference.mst_lengths(points, distances=False))
    ]
    torch.testing.assert_close(*gradients)
    assert gradients[1].dtype == dtype


def test_distances_and_their_gradients_agree_with_the_kernels():
    matrices = np.stack([random_distances(np.random.default_rng(seed), 15) for seed in range(3)])
    distances = torch.from_numpy(matrices).requires_grad_()
    ours, theirs = mst_lengths(distances, distances=True), reference.mst_lengths(distances, distances=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    gradients = [torch.autograd.grad(lengths.square().sum(), distances)[0] for lengths in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_gradcheck_and_coincident_points():
    points = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: reference.mst_lengths(x, distances=False), points)
    zeros = torch.zeros(2, 6, 3, requires_grad=True)
    reference.mst_lengths(zeros, distances=False).sum().backward()
    assert not zeros.grad.any()


def test_the_host_never_waits_for_the_device():
    # Fake tensors have shapes and no values: reading one out, or a shape that follows from values, is an error.
    with FakeTensorMode():
        points = torch.randn(4, 10, 3, requires_grad=True)
        lengths = reference.mst_lengths(points, distances=False)
        lengths.sum().backward()
        assert points.grad.shape == (4, 10, 3)
        distances = torch.rand(4, 10, 10)
        assert reference.mst_lengths(distances, distances=True).shape == (4, 9)


def test_tensors_on_another_device_take_this_path(monkeypatch):
    # A tensor of another device, without the device.
    with FakeTensorMode(allow_non_fake_inputs=False):
        points = torch.empty(4, 10, 3, device="mps")
        monkeypatch.setattr(reference, "mst_lengths", lambda points, distances: ("torch", distances))
        assert mst_lengths(points, distances=False) == ("torch", False)
