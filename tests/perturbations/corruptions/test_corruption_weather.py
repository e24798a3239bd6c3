"""Snow, frost, fog and brightness, compared with loops and with matplotlib's colors."""

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from scipy import ndimage

from persistill.perturbations.corruptions import corrupt
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.filters import streaked, zoomed
from persistill.perturbations.corruptions.frost_textures import frost_textures
from persistill.perturbations.corruptions.weather import brightness, fog, frost, snow


@pytest.mark.parametrize("more", [0.05, 0.3, 0.5])
def test_brightness_raises_the_value_of_hsv(photographs, more):
    images = photographs.clone()
    images[0, :, :4, :4] = 0
    images[0, :, 4:8, :4] = 0.5
    hsv = rgb_to_hsv(images.permute(0, 2, 3, 1).numpy())
    hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
    expected = hsv_to_rgb(hsv).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(brightness(images, None, 1.0, more), expected, atol=1e-9)


def test_brightness_of_gray_images_is_a_sum(photographs):
    gray = photographs[:, :1]
    np.testing.assert_allclose(brightness(gray, None, 1.0, 0.3), (gray + 0.3).clamp(0, 1), atol=1e-12)


def plasma(draws, size, decay):
    """Diamond and square, one point at a time."""
    height = np.zeros((size, size))
    step, wibble = size, 100.0
    while step > 1:
        half, count = step // 2, size // step
        noise = {
            kind: draws.uniform(f"{kind} {step}", count, count)[0].numpy() * 2 - 1
            for kind in ("square", "diamond across", "diamond along")
        }

        def mean(*points):
            return sum(height[row % size, column % size] for row, column in points) / 4

        for i in range(count):
            for j in range(count):
                y, x = i * step, j * step
                around = mean((y, x), (y + step, x), (y, x + step), (y + step, x + step))
                height[y + half, x + half] = around + wibble**2 * noise["square"][i, j]
        for i in range(count):
            for j in range(count):
                y, x = i * step, j * step
                across = mean((y, x), (y, x + step), (y + half, x + half), (y - half, x + half))
                along = mean((y, x), (y + step, x), (y + half, x + half), (y + half, x - half))
                height[y, x + half] = across + wibble**2 * noise["diamond across"][i, j]
                height[y + half, x] = along + wibble**2 * noise["diamond along"][i, j]
        step, wibble = half, wibble / decay
    return (height - height.min()) / (height.max() - height.min())


@pytest.mark.parametrize(("amount", "decay"), [(0.2, 3), (1.5, 1.75)])
def test_fog_is_a_plasma_fractal(oblong, amount, decay):
    draws = Draws(2, "fog", 1, torch.tensor([7, 9]))
    expected = np.stack(
        [
            (image + amount * plasma(Draws(2, "fog", 1, torch.tensor([index])), 64, decay)[:24, :40])
            * image.max()
            / (image.max() + amount)
            for index, image in ((7, oblong[0].numpy()), (9, oblong[1].numpy()))
        ]
    )
    np.testing.assert_allclose(fog(oblong, draws, 1.0, amount, decay), expected, atol=1e-9)


def test_fog_leaves_the_largest_value_and_a_black_image(photographs):
    draws = Draws(0, "fog", 1, torch.arange(4))
    assert (fog(photographs, draws, 1.0, 1.0, 2.0) <= photographs.amax((1, 2, 3), keepdim=True) + 1e-12).all()
    assert not fog(torch.zeros_like(photographs), draws, 1.0, 1.0, 2.0).any()


def test_snow(oblong):
    mean, std, zoom, threshold, radius, sigma, keep = 0.15, 0.3, 1.75, 0.55, 10, 4, 0.9
    draws = Draws(3, "snow", 3, torch.tensor([1, 2]))
    layer = zoomed(mean + std * draws.normal("flakes", 1, 24, 40), zoom).numpy()
    layer[layer < threshold] = 0
    layer = np.floor(np.clip(layer, 0, 1) * 255 + 1e-6)
    angle = -135 + 90 * draws.uniform("angle")
    layer = np.round(streaked(torch.from_numpy(layer), radius, sigma, angle).numpy()) / 255
    red, green, blue = oblong.numpy().transpose(1, 0, 2, 3)
    gray = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    white = keep * oblong.numpy() + (1 - keep) * np.maximum(oblong.numpy(), 1.5 * gray + 0.5)
    expected = white + layer + np.rot90(layer, 2, axes=(2, 3))
    found = snow(oblong, draws, 1.0, mean, std, zoom, threshold, radius, sigma, keep)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_snow_is_gray_and_falls(photographs):
    black = torch.zeros(4, 3, 64, 64, dtype=torch.float64)
    fallen = snow(black, Draws(0, "snow", 5, torch.arange(4)), 1.0, 0.1, 0.3, 2.0, 0.5, 12, 8, 1.0)
    assert fallen.max() > 0.1
    assert torch.equal(fallen[:, 0], fallen[:, 1])
    steps = [float(fallen.diff(dim=axis).abs().mean()) for axis in (2, 3)]
    assert steps[0] < 0.7 * steps[1], "streaks are steeper than 45 degrees"


def test_panes_have_the_colors_of_the_photographs_and_no_seam():
    five = frost_textures(1.0)
    assert five.shape == (5, 3, 512, 512)
    assert five.amin() >= 0
    assert five.amax() <= 1
    mean = [[0.305, 0.585, 0.650], [0.787, 0.805, 0.841], [0.787, 0.805, 0.841], [0.540, 0.599, 0.648]]
    mean.append([0.441, 0.484, 0.528])
    std = [[0.106, 0.065, 0.060], [0.084, 0.087, 0.089], [0.084, 0.087, 0.089], [0.112, 0.112, 0.117]]
    std.append([0.174, 0.170, 0.163])
    np.testing.assert_allclose(five.mean((2, 3)), mean, atol=2e-3)
    np.testing.assert_allclose(five.std((2, 3)), std, atol=2e-3)
    for axis in (2, 3):
        inside = five.diff(dim=axis).abs().mean()
        seam = (five.select(axis, 0) - five.select(axis, 511)).abs().mean()
        assert seam < 1.2 * inside
    assert not torch.equal(five[1], five[2])


def test_panes_are_reduced_without_smoothing():
    # Every fifth pixel or so, by linear interpolation.
    places = (np.arange(102) + 0.5) * 512 / 102 - 0.5
    grid = np.meshgrid(places, places, indexing="ij")
    expected = ndimage.map_coordinates(frost_textures(1.0)[4, 0].numpy(), grid, order=1)
    np.testing.assert_allclose(frost_textures(0.2)[4, 0], expected, atol=1e-9)


def test_frost_is_cut_from_a_pane(oblong):
    draws = Draws(1, "frost", 2, torch.tensor([4, 5]))
    found = frost(oblong, draws, 1.0, 0.9, 0.4, 0.2)
    small = frost_textures(0.2).numpy()
    for number in range(2):
        pane, (top, left) = int(draws.integers("pane", 0, 5)[number]), draws.integers("corner", 0, 102, 2)[number]
        cut = np.roll(small[pane], (-int(top), -int(left)), axis=(1, 2))[:, :24, :40]
        np.testing.assert_allclose(found[number], 0.9 * oblong[number].numpy() + 0.4 * cut, atol=1e-12)


def test_every_pane_is_used():
    drawn = Draws(0, "frost", 1, torch.arange(200)).integers("pane", 0, 5)
    assert torch.bincount(drawn, minlength=5).min() > 20


def test_frost_on_images_larger_than_a_pane():
    wide = torch.full((1, 1, 32, 400), 0.5)
    assert corrupt(wide, "frost", 5, 0, torch.tensor([0])).shape == wide.shape
