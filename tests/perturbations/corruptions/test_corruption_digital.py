"""Contrast, saturation, pixels, JPEG and elastic deformation, compared with Pillow, SciPy and matplotlib."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
    saturate,
)


def as_images(images):
    return [Image.fromarray(p) for p in (images * 255).round().byte().permute(0, 2, 3, 1).numpy()]


def test_contrast_is_about_the_mean_of_each_channel_of_each_image(photographs):
    found = contrast(photographs, None, 1.0, 0.3)
    for image, changed in zip(photographs, found, strict=True):
        for channel, other in zip(image, changed, strict=True):
            np.testing.assert_allclose(other, (channel - channel.mean()) * 0.3 + channel.mean(), atol=1e-12)
    np.testing.assert_allclose(found.mean((2, 3)), photographs.mean((2, 3)), atol=1e-12)


@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0), (0.1, 0), (1.5, 0), (2.5, 0.2), (20, 0.2)])
def test_saturate_changes_the_saturation_of_hsv(photographs, factor, shift):
    images = photographs.clone()
    images[0, :, :4, :4] = 0
    images[0, :, 4:8, :4] = 0.5
    hsv = rgb_to_hsv(images.permute(0, 2, 3, 1).numpy())
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + shift, 0, 1)
    expected = hsv_to_rgb(hsv).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(saturate(images, None, 1.0, factor, shift), expected, atol=1e-9)


def test_gray_images_have_no_saturation(photographs):
    gray = photographs[:, :1]
    assert torch.equal(saturate(gray, None, 1.0, 2.5, 0.2), gray)


@pytest.mark.parametrize("share", [0.95, 0.9, 0.85, 0.75, 0.65, 0.25])
def test_pixelate_is_pillows(photographs, oblong, share):
    for images in (photographs, oblong):
        found = (pixelate(images, None, 1.0, share) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        for image, changed in zip(as_images(images), found, strict=True):
            small = image.resize([int(side * share) for side in image.size], Image.Resampling.BOX)
            assert np.array_equal(np.asarray(small.resize(image.size, Image.Resampling.BOX)), changed)


def test_pixelate_makes_larger_blocks_of_larger_images(photographs):
    large = torch.nn.functional.interpolate(photographs, scale_factor=2)
    found = pixelate(large, None, 2.0, 0.65)
    assert len(torch.unique_consecutive(found[0, 0], dim=0)) == 20


@pytest.mark.parametrize("quality", [80, 40, 7])
def test_jpeg_is_pillows(photographs, quality):
    found = (jpeg_compression(photographs, None, 1.0, quality) * 255).round().byte()
    for image, changed in zip(as_images(photographs), found, strict=True):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        assert np.array_equal(np.asarray(Image.open(file)).transpose(2, 0, 1), changed)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_jpeg_of_images_without_colors_goes_channel_by_channel(photographs, channels):
    images = photographs.repeat(1, 2, 1, 1)[:, :channels]
    found = (jpeg_compression(images, None, 1.0, 40) * 255).round().byte()
    for c in range(channels):
        file = io.BytesIO()
        Image.fromarray((images[1, c] * 255).round().byte().numpy()).save(file, "JPEG", quality=40)
        assert np.array_equal(np.asarray(Image.open(file)), found[1, c])


def elastic(image, draws, strength, sigma, jitter):
    """The same by SciPy, for one image: an affine map fitted to three moved points, then displacements."""
    height, width = image.shape[1:]
    side = min(height, width)
    middle, half = np.array([height // 2, width // 2]), side // 3
    points = middle + half * np.array([[1, 1], [-1, 1], [-1, -1]])
    moved = points + jitter * side * (2 * draws.uniform("corners", 3, 2)[0].numpy() - 1)
    # rows of `moved` -> rows of `points`
    matrix, *_ = np.linalg.lstsq(np.column_stack([moved, np.ones(3)]), points, rcond=None)
    bent = np.stack(
        [ndimage.affine_transform(c, matrix[:2].T, offset=matrix[2], order=1, mode="mirror") for c in image]
    )
    noise = draws.uniform("displacement", 2, height, width)[0].numpy() * 2 - 1
    smooth = [ndimage.gaussian_filter(n, sigma * side, mode="reflect", truncate=3) * strength * side for n in noise]
    grid = np.mgrid[:height, :width] + np.stack(smooth)
    return np.stack([ndimage.map_coordinates(channel, grid, order=1, mode="reflect") for channel in bent])


@pytest.mark.parametrize(
    ("strength", "sigma", "jitter"), [(0, 0, 0.08), (0.1, 0.03, 0.03), (0.3, 0.02, 0.0), (2.0, 0.7, 0.1)]
)
@pytest.mark.parametrize("kind", ["photographs", "oblong"])
def test_elastic_transform(strength, sigma, jitter, kind, request):
    images = request.getfixturevalue(kind)
    index = torch.arange(len(images)) + 3
    found = elastic_transform(images, Draws(8, "elastic", 1, index), 1.0, strength, sigma, jitter)
    for number, image in enumerate(images.numpy()):
        draws = Draws(8, "elastic", 1, index[number : number + 1])
        np.testing.assert_allclose(found[number], elastic(image, draws, strength, sigma, jitter), atol=1e-7)


def test_elastic_transform_of_a_larger_image_is_the_larger_one():
    # A smooth image, drawn at two sizes, is deformed alike.
    def drawn(side):
        places = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        return (0.5 + 0.25 * ((6 * places).sin()[:, None] + (7 * places).cos()))[None, None]

    draws = Draws(0, "elastic", 1, torch.tensor([0]))
    small = elastic_transform(drawn(32), draws, 1.0, 0.1, 0.04, 0.0)
    large = elastic_transform(drawn(128), draws, 4.0, 0.1, 0.04, 0.0)
    reduced = torch.nn.functional.avg_pool2d(large, 4)
    unmoved = (drawn(32) - small).abs().mean()
    assert (reduced - small).abs().mean() < 0.25 * unmoved
