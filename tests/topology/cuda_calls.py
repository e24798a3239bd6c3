"""Run by test_cuda.py, in a process of their own: public functions find the kernels, on a GPU or in the interpreter."""

import numpy as np
import pytest
import torch
from hard_signals import as_multiset, hard_signals

from persistill.topology import (
    PersistenceImages,
    _devices,
    _triton_images,
    _triton_signals,
    mst_lengths,
    persistence_images,
    sublevel_persistence,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PICTURES = np.resize(hard_signals()["walk"], (2, 1, 4, 11))
SETTINGS = PersistenceImages((16, 12))


@pytest.fixture(autouse=True)
def called(monkeypatch):
    """Which functions of the kernels' files were called."""
    found = []

    def spy(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **kwargs: (found.append(name), real(*args, **kwargs))[1])

    spy(_triton_signals, "padded_pairs")
    spy(_triton_images, "images")
    spy(_triton_images, "persistence_images")
    if DEVICE == "cpu":
        for module in ("signals", "pictures", "persistence_image"):
            monkeypatch.setattr(f"persistill.topology.{module}.on_gpu", lambda array: isinstance(array, torch.Tensor))
    return found


def test_pictures(called):
    found = persistence_images(torch.from_numpy(PICTURES).to(DEVICE), SETTINGS)
    assert called == ["persistence_images"]
    assert found.device.type == DEVICE
    np.testing.assert_allclose(found.cpu(), persistence_images(PICTURES, SETTINGS), atol=1e-6)
    with pytest.raises(TypeError, match=r"must be uint8, float32 or float64; got int32"):
        persistence_images(torch.from_numpy(PICTURES).int().to(DEVICE), SETTINGS)


def test_signals_and_diagrams(called):
    signals = PICTURES.reshape(2, 44)
    diagrams = sublevel_persistence(torch.from_numpy(signals).to(DEVICE), min_persistence=3)
    found = SETTINGS.images(diagrams)
    assert called == ["padded_pairs", "images"]
    expected = sublevel_persistence(signals, min_persistence=3)
    for one, other in zip(diagrams.numpy(), expected, strict=True):
        np.testing.assert_array_equal(as_multiset(one), as_multiset(other))
    np.testing.assert_allclose(found.cpu(), SETTINGS.images(expected), atol=1e-6)


def test_gradients_take_the_path_that_has_them(called):
    signals = torch.rand(1, 9, device=DEVICE, requires_grad=True)
    SETTINGS.images(sublevel_persistence(signals)).sum().backward()
    assert called == ["padded_pairs"]
    assert signals.grad.isfinite().all()


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_clouds():
    clouds = torch.randn(3, 20, 4, device=DEVICE)
    np.testing.assert_allclose(mst_lengths(clouds).cpu(), mst_lengths(clouds.cpu()), rtol=1e-6)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_the_host_never_waits():
    pictures = torch.from_numpy(PICTURES).to(DEVICE)
    clouds = torch.randn(3, 20, 4, device=DEVICE, requires_grad=True)

    def step():
        persistence_images(pictures, SETTINGS)
        persistence_images(pictures.float() / 255, SETTINGS)
        mst_lengths(clouds).sum().backward()

    step()  # compiles, and makes tables
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_without_a_gpu_nothing_changes(monkeypatch):
    assert not _devices.on_gpu(np.zeros(3))
    assert not _devices.on_gpu(torch.zeros(3))
