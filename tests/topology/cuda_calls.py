"""Run by test_cuda.py, in a process of their own: public functions find the kernels, on a GPU or in the interpreter."""

import contextlib

import numpy as np
import pytest
import torch
from hard_signals import as_multiset, hard_signals
from torch.utils._python_dispatch import TorchDispatchMode

from persistill.topology import (
    PersistenceImageConfig,
    _dispatch,
    mst_lengths,
    persistence_images,
    scan_persistence_images,
    sublevel_persistence,
)
from persistill.topology._triton import persistence_image as triton_images
from persistill.topology._triton import persistence_image_autograd as triton_gradients
from persistill.topology._triton import sublevel_1d as triton_signals
from persistill.topology._triton import vietoris_rips_h0 as triton_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
IMAGES = np.resize(hard_signals()["walk"], (2, 1, 4, 11))
SETTINGS = PersistenceImageConfig((16, 12))


@pytest.fixture(autouse=True)
def called(monkeypatch):
    """Which functions of the kernels' files were called."""
    found = []

    def spy(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **kwargs: (found.append(name), real(*args, **kwargs))[1])

    spy(triton_signals, "padded_pairs")
    spy(triton_images, "persistence_images")
    spy(triton_images, "scan_persistence_images")
    spy(triton_gradients, "scan_persistence_images")
    if DEVICE == "cpu":
        dispatch(monkeypatch, lambda array: isinstance(array, torch.Tensor))
    return found


def dispatch(monkeypatch, on_gpu):
    """Let public functions ask ``on_gpu`` whether to work on a GPU."""
    for module in ("homology.sublevel_1d", "persistence_image.from_diagrams", "persistence_image.from_images"):
        monkeypatch.setattr(f"persistill.topology.{module}.on_gpu", on_gpu)


class NothingIsReadOut(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU; copies to the CPU are the interpreter's own."""

    waiting = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "bincount", "is_nonzero", "equal.default")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).removeprefix("aten.")
        assert not name.startswith(self.waiting), f"{name} makes the host wait"
        if name.startswith(("index.", "index_put")):
            assert all(one is None or one.dtype != torch.bool for one in args[1]), "a mask has as many points as it has"
        return func(*args, **(kwargs or {}))


def test_images(called):
    scan_persistence_images(torch.from_numpy(IMAGES).to(DEVICE), SETTINGS)  # makes tables
    called.clear()
    with NothingIsReadOut():
        found = scan_persistence_images(torch.from_numpy(IMAGES).to(DEVICE), SETTINGS)
    assert called == ["scan_persistence_images"]
    assert found.device.type == DEVICE
    np.testing.assert_allclose(found.cpu(), scan_persistence_images(IMAGES, SETTINGS), atol=1e-6)
    with pytest.raises(TypeError, match=r"must be uint8, float32 or float64; got int32"):
        scan_persistence_images(torch.from_numpy(IMAGES).int().to(DEVICE), SETTINGS)


def test_signals_and_diagrams(called):
    signals = IMAGES.reshape(2, 44)
    diagrams = sublevel_persistence(torch.from_numpy(signals).to(DEVICE), min_persistence=3)
    found = persistence_images(diagrams, SETTINGS)
    assert called == ["padded_pairs", "persistence_images"]
    expected = sublevel_persistence(signals, min_persistence=3)
    for one, other in zip(diagrams.numpy(), expected, strict=True):
        np.testing.assert_array_equal(as_multiset(one), as_multiset(other))
    np.testing.assert_allclose(found.cpu(), persistence_images(expected, SETTINGS), atol=1e-6)


def test_gradients_take_the_path_that_has_them(called):
    signals = torch.rand(1, 9, device=DEVICE, requires_grad=True)
    persistence_images(sublevel_persistence(signals), SETTINGS).sum().backward()
    assert called == ["padded_pairs"]
    assert signals.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_images_without_waiting(called, dtype, monkeypatch):
    images = torch.from_numpy(IMAGES).to(dtype) / 255
    settings = PersistenceImageConfig(
        (8, 6), bandwidth=0.05, births=(0, 1), persistences=(0, 1), scaling="log", scale=0.1
    )
    weights = torch.rand(2, 2, 8, 6)
    monkeypatch.setattr(triton_gradients, "_NUMBERS", 700)  # three signals are drawn at a time
    gradients = []
    for device, mode in ((DEVICE, NothingIsReadOut), ("cpu", contextlib.nullcontext)):
        leaf = images.to(device).requires_grad_()
        if mode is contextlib.nullcontext:
            dispatch(monkeypatch, lambda array: False)
        with mode():
            found = scan_persistence_images(leaf, settings)
            (found * weights.to(device)).sum().backward()
        gradients.append((found.detach().cpu(), leaf.grad.cpu()))
    assert called == ["scan_persistence_images"]
    for ours, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5 * float(expected.abs().max()))
    assert gradients[0][1].any()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_images_of_what_is_not_finite_and_gradients_through_nothing():
    images = torch.rand(3, 1, 3, 4, device=DEVICE)
    images[1, 0, 1, 2] = torch.nan
    found = scan_persistence_images(images.requires_grad_(), SETTINGS)
    assert found.isnan().all((1, 2, 3)).tolist() == [False, True, False]
    for shape in ((2, 1, 1, 1), (0, 2, 3, 4)):
        leaf = torch.rand(shape, device=DEVICE, requires_grad=True)
        found = scan_persistence_images(leaf, SETTINGS)
        assert found.shape == (shape[0], 2 * shape[1], *SETTINGS.pixels)
        assert not found.any()
    with pytest.raises(ValueError, match="out must be None"):
        scan_persistence_images(images, SETTINGS, out=torch.zeros(3, 2, 16, 12))


@pytest.mark.parametrize("distances", [False, True])
def test_trees_and_their_gradients_without_waiting(distances):
    points = torch.randn(3, 20, 4, device=DEVICE)
    leaf = (torch.cdist(points, points) if distances else points).requires_grad_()
    with NothingIsReadOut():
        triton_kernels.mst_lengths(leaf, distances=distances).sum().backward()
    assert leaf.grad.isfinite().all()
    assert leaf.grad.any()


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_clouds():
    clouds = torch.randn(3, 20, 4, device=DEVICE)
    np.testing.assert_allclose(mst_lengths(clouds).cpu(), mst_lengths(clouds.cpu()), rtol=1e-6)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_the_host_never_waits():
    images = torch.from_numpy(IMAGES).to(DEVICE)
    clouds = torch.randn(3, 20, 4, device=DEVICE, requires_grad=True)

    def step():
        scan_persistence_images(images, SETTINGS)
        scan_persistence_images(images.float() / 255, SETTINGS)
        mst_lengths(clouds).sum().backward()
        scan_persistence_images((images.float() / 255).requires_grad_(), SETTINGS).sum().backward()

    step()  # compiles, and makes tables
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_without_a_gpu_nothing_changes(monkeypatch):
    assert not _dispatch.on_gpu(np.zeros(3))
    assert not _dispatch.on_gpu(torch.zeros(3))
