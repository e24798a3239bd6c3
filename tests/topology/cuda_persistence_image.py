"""Run by test_cuda.py, in a process of their own: on a GPU if there is one, else in Triton's interpreter."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hard_signals import hard_signals

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    columns,
    persistence_images,
    rows,
    sublevel_persistence,
)
from persistill.topology._triton import persistence_image as kernels
from persistill.topology._triton.sublevel_1d import OPTIONS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TGD = PersistenceImageConfig.tgd()
SMALL = dataclasses.replace(TGD, pixels=(20, 17))
HARD = hard_signals()
# Bars in the window, ties, images of nothing but tails (1e-43, which has few digits in float32, and 1e-235, which has
# none), less than the least number of float64, no bar at all, and a mixture.
SIGNALS = [HARD["alternating 40 60"], HARD["ties of two values"], [160, 116, 150], [210, 160, 205]]
SIGNALS += [HARD["beyond the births"], HARD["constant"], HARD["walk"]]
IMAGES = np.stack([np.resize(signal, (1, 4, 12)) for signal in SIGNALS]).astype(np.uint8)


def step_by_step(images, settings, scans=(rows, columns)):
    """The same through float64 diagrams, whose images are held to persim elsewhere."""
    values = images / 255 if images.dtype == np.uint8 else images.astype(np.float64)
    return np.concatenate([persistence_images(sublevel_persistence(scan(values)), settings) for scan in scans], 1)


def drawn(images, settings, scans=("rows", "columns"), out=None):
    found = kernels.scan_persistence_images(torch.from_numpy(images).to(DEVICE), settings, scans, out)
    assert found.dtype == torch.float32 if out is None else found is out
    return found.cpu().numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_hard_images_agree_with_the_steps(dtype):
    images = IMAGES if dtype == np.uint8 else (IMAGES / 255).astype(dtype)
    expected = step_by_step(images, SMALL)
    assert expected.max((1, 2, 3)).tolist() == [1, 1, 1, 1, 0, 0, 1]
    np.testing.assert_allclose(drawn(images, SMALL), expected, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(SMALL, scaling="none"),
        dataclasses.replace(SMALL, scaling="log", scale=1e-4, weight="constant"),
        dataclasses.replace(TGD, grid="tiled", pixels=(7, 70)),
        dataclasses.replace(TGD, pixels=(1, 1)),
        dataclasses.replace(SMALL, bandwidth=0.3),
        dataclasses.replace(SMALL, bandwidth=0.0005),
        dataclasses.replace(SMALL, min_persistence=0.0, births=(-3.0, 7.0), persistences=(0.0, 4.0)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_all_settings_agree_with_the_steps(settings, dtype):
    images = IMAGES[[0, 6]] if dtype == np.uint8 else (IMAGES[[0, 6]] / 255).astype(dtype)
    np.testing.assert_allclose(drawn(images, settings), step_by_step(images, settings), atol=1e-6, rtol=1e-6)


def test_real_images_agree_with_the_steps(cifar):
    images = cifar([7])[:, 1:, :9]
    np.testing.assert_allclose(drawn(images, TGD), step_by_step(images, TGD), atol=1e-6)


def test_hundreds_of_equal_bars_do_not_drift():
    bars = torch.tensor([[40, 60]], dtype=torch.uint8).repeat(4000, 1)
    diagrams = Diagrams(bars.to(DEVICE), torch.tensor([0, 4000], device=DEVICE))
    plain = dataclasses.replace(SMALL, scaling="none")
    expected = 4000 * persistence_images(Diagrams(bars[:1], torch.tensor([0, 1])), plain).numpy().astype(np.float64)
    np.testing.assert_allclose(kernels.persistence_images(diagrams, plain).cpu(), expected, rtol=1e-6, atol=1e-9)


def test_scans_and_blocks(monkeypatch):
    images = np.concatenate([IMAGES[[0, 1]], IMAGES[[5, 6]]], 1)
    both = drawn(images, SMALL)
    np.testing.assert_array_equal(drawn(images, SMALL, ("columns", "rows")), both[:, [2, 3, 0, 1]])
    monkeypatch.setattr("persistill.topology._triton.sublevel_1d._SCRATCH", 1)
    np.testing.assert_array_equal(drawn(images, SMALL), both)


def test_eight_bit_output():
    out = torch.full((2, 1, 20, 17), 7, dtype=torch.uint8, device=DEVICE)
    found = drawn(IMAGES[[0, 2]], SMALL, ("rows",), out)
    expected = np.floor(step_by_step(IMAGES[[0, 2]], SMALL, (rows,)) * 255)
    assert (found != expected).mean() < 1e-2  # a value within rounding of a whole number may fall on its other side
    assert np.abs(found - expected).max() <= 1
    assert (found.max((2, 3)) == 255).all()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_is_not_finite_gives_images_of_nan():
    images = (IMAGES[[6, 6, 6]] / 255).astype(np.float32)
    images[0, 0, 1, 2] = np.nan
    images[2, 0, 3, 0] = -np.inf
    found = drawn(images, SMALL, ("rows",))
    assert np.isnan(found[[0, 2]]).all()
    np.testing.assert_allclose(found[1], step_by_step(images[1:2], SMALL, (rows,))[0], atol=1e-6)


def test_diagrams_of_any_kind():
    values = torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.05, 0.06], [0.2, 0.25]], dtype=torch.float64)
    diagrams = Diagrams(values, torch.tensor([0, 2, 2, 4]), (3, 1))
    moved = Diagrams(values.to(DEVICE), diagrams.offsets.to(DEVICE), (3, 1))
    found = kernels.persistence_images(moved, SMALL)
    assert found.shape == (3, 1, 20, 17)
    np.testing.assert_allclose(found.cpu(), persistence_images(diagrams, SMALL), atol=1e-6)
    assert kernels.persistence_images(Diagrams(moved.values[:0], moved.offsets[:1]), SMALL).shape == (0, 20, 17)
    with pytest.raises(ValueError, match=r"point 1 of the diagrams is \[0.5, inf\]; drop classes that never die"):
        bars = torch.tensor([[0.1, 0.2], [0.5, torch.inf]], device=DEVICE)
        kernels.persistence_images(Diagrams(bars, torch.tensor([0, 2], device=DEVICE)), SMALL)


def test_bad_outputs_are_named():
    image = torch.zeros(1, 1, 4, 5, dtype=torch.uint8, device=DEVICE)

    def draw(out, settings=SMALL):
        kernels.scan_persistence_images(image, settings, ("rows",), out)

    with pytest.raises(TypeError, match=r"float32 or uint8; got torch\.float64"):
        draw(torch.zeros(1, 1, 20, 17, dtype=torch.float64, device=DEVICE))
    with pytest.raises(TypeError, match="float32 or uint8; got ndarray"):
        draw(np.zeros((1, 1, 20, 17)))
    with pytest.raises(ValueError, match=r"contiguous of shape \(1, 1, 20, 17\); got \(1, 2, 20, 17\)"):
        draw(torch.zeros(1, 2, 20, 17, device=DEVICE))
    with pytest.raises(ValueError, match="on the device of the images"):
        draw(torch.zeros(1, 1, 20, 17, device="meta"))
    with pytest.raises(ValueError, match="8-bit images need scaling"):
        out = torch.zeros(1, 1, 20, 17, dtype=torch.uint8, device=DEVICE)
        draw(out, dataclasses.replace(SMALL, scaling="log"))


def test_tails_keep_their_digits():
    z = torch.cat([torch.linspace(0, 8, 128), torch.linspace(8, 37, 128)]).double().to(DEVICE)
    out = torch.empty_like(z)
    _tails[(1,)](z, torch.tensor(kernels.MILLS_RATIO, dtype=torch.float64, device=DEVICE), out, **OPTIONS)
    expected = [0.5 * math.erfc(value / math.sqrt(2)) for value in z.tolist()]
    np.testing.assert_allclose(out.cpu(), expected, rtol=1e-11)


_tail = kernels._tail


@triton.jit
def _tails(z, ratio, out):
    i = tl.arange(0, 256)
    tl.store(out + i, _tail(tl.load(z + i), ratio))
