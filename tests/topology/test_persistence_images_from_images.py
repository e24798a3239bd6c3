import dataclasses
import threading

import numpy as np
import pytest
import torch
from hard_signals import hard_signals, image_by_formula

from persistill.topology import (
    PersistenceImageConfig,
    columns,
    persistence_images,
    rows,
    scan_persistence_images,
    sublevel_persistence,
)

TGD = PersistenceImageConfig.tgd()
FITTED = PersistenceImageConfig(
    (32, 32), bandwidth=0.02, births=(0, 1), persistences=(0, 0.5), grid="tiled", scaling="log", scale=0.01
)


def step_by_step(images, settings, scans=(rows, columns)):
    """The same through float64 diagrams, whose images are held to persim elsewhere."""
    values = images / 255 if images.dtype == np.uint8 else images.astype(np.float64)
    return np.concatenate([persistence_images(sublevel_persistence(scan(values)), settings) for scan in scans], 1)


def hard_images():
    """The hard signals as the rows-scan of (n, 1, H, W) images, cropped or repeated to 256 samples."""
    return np.stack([np.resize(signal, (1, 8, 32)) for signal in hard_signals().values()])


@pytest.mark.parametrize("settings", [TGD, FITTED])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_few_images_are_drawn_as_many_are(settings, dtype):
    images = np.concatenate([hard_images()] * 2)
    images = images if dtype == np.uint8 else (images / 255).astype(dtype)
    many = scan_persistence_images(images, settings)
    for start in range(0, len(hard_images()), 3):
        np.testing.assert_array_equal(
            scan_persistence_images(images[start : start + 3], settings), many[start : start + 3]
        )


def test_golden_numbers_of_the_published_settings(cifar):
    found = scan_persistence_images(cifar([1361, 2741, 68]), TGD)
    sums = found.sum((2, 3), dtype=np.float64)
    np.testing.assert_allclose(
        sums[:, :3],
        [[14.2848, 15.8151, 13.7829], [40.6329, 43.4798, 45.9782], [96.9397, 186.3946, 202.9251]],
        atol=6e-5,
    )
    np.testing.assert_allclose(sums[0, 3:], [9.0926, 9.0926, 9.4695], atol=6e-5)
    peaks = [np.unravel_index(image.argmax(), image.shape) for image in found[0, :3]]
    assert peaks == [(25, 1), (25, 1), (26, 1)]


@pytest.mark.parametrize("settings", [TGD, FITTED], ids=["published", "fitted"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_real_images_agree_with_the_steps(cifar, settings, dtype):
    images = cifar(list(range(70)))
    if dtype != np.uint8:
        images = (images / 255).astype(dtype)
    found = scan_persistence_images(images, settings)
    assert found.dtype == np.float32
    assert found.shape == (70, 6, *settings.pixels)
    np.testing.assert_allclose(found, step_by_step(images, settings), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("settings", [TGD, FITTED], ids=["published", "fitted"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_hard_images_agree_with_the_steps(settings, dtype):
    images = hard_images()
    if dtype != np.uint8:
        images = images / 255
    found = scan_persistence_images(images, settings)
    np.testing.assert_allclose(found, step_by_step(images, settings), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        dataclasses.replace(TGD, scaling="none"),
        dataclasses.replace(TGD, weight="constant"),
        dataclasses.replace(TGD, grid="tiled", pixels=(7, 90)),
        dataclasses.replace(TGD, pixels=(1, 1)),
        dataclasses.replace(TGD, births=(0.4, 0.9), persistences=(0.1, 0.2)),
        dataclasses.replace(TGD, bandwidth=0.3),
        dataclasses.replace(TGD, bandwidth=0.0005),
        dataclasses.replace(TGD, min_persistence=0.0),
        dataclasses.replace(TGD, bandwidth=1e-7),
        dataclasses.replace(TGD, bandwidth=100.0, scaling="none"),
        dataclasses.replace(TGD, scaling="log", scale=1e-9),
        dataclasses.replace(TGD, scaling="log", scale=1e-9, weight="constant"),
        dataclasses.replace(TGD, births=(-3.0, 7.0), persistences=(0.0, 4.0), pixels=(130, 40)),
    ],
)
def test_all_settings_agree_with_the_steps(cifar, settings):
    images = np.concatenate([cifar([5])[:, :, :8].reshape(3, 1, 8, 32), hard_images()])
    found = scan_persistence_images(images, settings)
    np.testing.assert_allclose(found, step_by_step(images, settings), atol=1e-6, rtol=1e-6)


def test_diagrams_that_are_tails_are_normalized_like_others(cifar):
    # A bright image: no bar is near the window, and yet its images have the maximum 1.
    images = np.maximum(cifar([5, 6]), 140)
    found = scan_persistence_images(images, TGD)
    np.testing.assert_allclose(found, step_by_step(images, TGD), atol=1e-6)
    assert found.max() == 1


def test_scans_come_in_the_order_asked_for(cifar):
    images = cifar([10, 11])
    both = scan_persistence_images(images, TGD)
    np.testing.assert_array_equal(scan_persistence_images(images, TGD, scans=("columns",)), both[:, 3:])
    turned = scan_persistence_images(images, TGD, scans=["columns", "rows"])
    np.testing.assert_array_equal(turned, np.concatenate([both[:, 3:], both[:, :3]], 1))
    np.testing.assert_array_equal(scan_persistence_images(images.swapaxes(-1, -2), TGD, scans=("rows",)), both[:, 3:])


@pytest.mark.parametrize("shape", [(2, 1, 5, 9), (1, 4, 1, 1), (3, 2, 1, 7), (2, 1, 100, 3), (65, 1, 6, 6)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_size_and_any_number_of_channels(shape, dtype):
    rng = np.random.default_rng(sum(shape))
    images = rng.integers(0, 120, shape, dtype=np.uint8)
    if dtype == np.float32:
        images = (images / 255).astype(np.float32)
    found = scan_persistence_images(images, TGD)
    np.testing.assert_allclose(found, step_by_step(images, TGD), atol=1e-6)


def test_large_images(cifar):
    tiles = cifar(list(range(49))).reshape(7, 7, 3, 32, 32)
    mosaic = tiles.transpose(2, 0, 3, 1, 4).reshape(1, 3, 224, 224)
    np.testing.assert_allclose(scan_persistence_images(mosaic, TGD), step_by_step(mosaic, TGD), atol=1e-6)


def test_threads_and_batches_change_nothing(cifar):
    images = cifar(list(range(80)))
    one = scan_persistence_images(images, TGD, threads=1)
    np.testing.assert_array_equal(scan_persistence_images(images, TGD, threads=3), one)
    np.testing.assert_array_equal(scan_persistence_images(images[50:], TGD), one[50:])
    for k in (0, 63, 79):
        np.testing.assert_array_equal(scan_persistence_images(images[k : k + 1], TGD)[0], one[k])


def test_memory_order_does_not_matter(cifar):
    images = cifar([20, 21, 22])
    expected = scan_persistence_images(images, TGD)
    channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(scan_persistence_images(channels_last, TGD), expected)
    np.testing.assert_array_equal(scan_persistence_images(np.repeat(images, 2, 0)[::2], TGD), expected)


def test_tensors_in_tensors_out(cifar):
    images = cifar([30, 31])
    expected = scan_persistence_images(images, TGD)
    found = scan_persistence_images(torch.from_numpy(images), TGD)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_output_goes_where_it_is_wanted(cifar):
    images = cifar([40, 41])
    expected = scan_persistence_images(images, TGD)
    out = np.full((2, 6, 50, 50), np.nan, np.float32)
    assert scan_persistence_images(images, TGD, out=out) is out
    np.testing.assert_array_equal(out, expected)
    levels = torch.zeros(2, 6, 50, 50, dtype=torch.uint8)
    assert scan_persistence_images(torch.from_numpy(images), TGD, out=levels) is levels
    published = (step_by_step(images, TGD).astype(np.float64) * 255).astype(np.uint8)
    differing = levels.numpy() != published
    # A value within rounding of a whole number may fall on its other side.
    assert differing.mean() < 1e-4
    assert abs(levels.numpy().astype(int) - published).max() <= 1
    assert levels.amax((2, 3)).eq(255).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_empty_batch_is_fine(dtype):
    assert scan_persistence_images(np.zeros((0, 3, 8, 8), dtype), TGD).shape == (0, 6, 50, 50)


def test_points_three_bandwidths_outside_are_drawn_from_tables_of_places():
    # Their profiles are steep: this is where a shorter series would show, and where the window's edge is the maximum.
    places = np.linspace(0.3 + 0.027, 0.3 + 0.039, 41)
    images = np.stack([np.array([0.0, birth + 0.1234, birth]).reshape(1, 1, 3) for birth in places])
    found = scan_persistence_images(images, TGD, scans=("rows",))[:, 0]
    for number, birth in enumerate(places):
        raw = image_by_formula([(birth, birth + 0.1234)], TGD.edges("persistences"), TGD.edges("births"), 0.01)
        np.testing.assert_allclose(found[number], raw / raw.max(), atol=3e-7)


def test_equal_bars_do_not_round_in_one_direction():
    # 40,000 bars of one kind and a few of another, in every number format; float32 sums would drift to 1e-4.
    signal = np.tile(np.array([40, 60], np.uint8), 40_000)
    signal[7::500] = 90
    image = signal.reshape(1, 1, 200, 400)
    settings = dataclasses.replace(TGD, pixels=(5, 5), scaling="none")
    kinds, numbers = np.unique(sublevel_persistence(signal / 255)[0], axis=0, return_counts=True)
    expected = image_by_formula(kinds, settings.edges("persistences"), settings.edges("births"), 0.01, numbers)
    np.testing.assert_allclose(step_by_step(image, settings, (rows,))[0, 0], expected, rtol=1e-6, atol=1e-6)
    for pixels in (image, image / 255):
        found = scan_persistence_images(pixels, settings, scans=("rows",))[0, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_two_threads_at_once_do_not_disturb_each_other(cifar):
    images = cifar(list(range(64)))
    expected = scan_persistence_images(images, TGD, threads=1)
    found = [None, None]

    def work(k):
        found[k] = scan_persistence_images(images, TGD, threads=2)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for rendered in found:
        np.testing.assert_array_equal(rendered, expected)


def test_gradients_reach_the_pixels_where_bars_begin_and_end():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 2, 4, 5, dtype=torch.float64, generator=generator)
    weights = torch.rand(2, 4, 8, 9, dtype=torch.float64, generator=generator)
    settings = dataclasses.replace(FITTED, pixels=(8, 9), bandwidth=0.1, scaling="none")

    def total(values):
        return float((scan_persistence_images(values, settings).double() * weights).sum())

    leaf = images.clone().requires_grad_()
    rendered = scan_persistence_images(leaf, settings, threads=1)
    np.testing.assert_allclose(rendered.detach(), scan_persistence_images(images, settings), rtol=1e-5, atol=1e-7)
    (rendered.double() * weights).sum().backward()
    for place in [(0, 0, 0, 0), (0, 1, 2, 3), (1, 0, 3, 4), (1, 1, 1, 1), (1, 1, 3, 0)]:
        step = torch.zeros_like(images)
        step[place] = 1e-3
        slope = (total(images + step) - total(images - step)) / 2e-3
        assert leaf.grad[place].item() == pytest.approx(slope, abs=2e-3)
    assert leaf.grad.abs().max() > 0.1
    with torch.no_grad():
        assert not scan_persistence_images(leaf, settings).requires_grad
    with pytest.raises(ValueError, match="out must be None for images that require gradients"):
        scan_persistence_images(leaf, settings, out=torch.empty(2, 4, 8, 9))


def test_bad_input_is_named():
    images = np.zeros((2, 3, 4, 5), np.float32)
    images[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match=r"images\[1, 2, 3, 4\] is nan; all values must be finite"):
        scan_persistence_images(images, TGD)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\) with no side 0; got \(3, 4, 5\)"):
        scan_persistence_images(np.zeros((3, 4, 5), np.uint8), TGD)
    with pytest.raises(ValueError, match=r"no side 0; got \(3, 0, 5, 5\)"):
        scan_persistence_images(np.zeros((3, 0, 5, 5), np.uint8), TGD)
    with pytest.raises(TypeError, match="uint8, float32 or float64; got int32"):
        scan_persistence_images(np.zeros((1, 1, 4, 5), np.int32), TGD)
    with pytest.raises(TypeError, match="got list"):
        scan_persistence_images([[1]], TGD)
    with pytest.raises(ValueError, match="scans must be one or more of 'rows', 'columns'; got"):
        scan_persistence_images(np.zeros((1, 1, 4, 5), np.uint8), TGD, scans=("diagonals",))


def test_bad_outputs_are_named():
    images = np.zeros((1, 1, 4, 5), np.uint8)
    with pytest.raises(ValueError, match=r"out must be C-contiguous of shape \(1, 2, 50, 50\); got \(1, 1, 50, 50\)"):
        scan_persistence_images(images, TGD, out=np.zeros((1, 1, 50, 50), np.float32))
    with pytest.raises(TypeError, match="out must be float32 or uint8; got float64"):
        scan_persistence_images(images, TGD, out=np.zeros((1, 2, 50, 50)))
    with pytest.raises(ValueError, match="8-bit images need scaling=\"max\"; the settings have 'log'"):
        scan_persistence_images(images, FITTED, out=np.zeros((1, 2, 32, 32), np.uint8))
