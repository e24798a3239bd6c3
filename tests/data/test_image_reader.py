import io
import os

import numpy as np
import pytest
from made_up_images import array, encoded, make_image
from PIL import Image

from persistill.utils.image_files import image_names
from persistill.utils.image_reader import Header, open_image, read_header
from persistill.utils.preprocessing import read_pixels

ORIENTATION = 0x0112


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def read(data: bytes, channels: int = 3) -> np.ndarray:
    header = read_header(opened(data))
    return read_pixels(opened(data), (channels, header.height, header.width))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_lossless_color_comes_back_bit_for_bit(kind):
    image = make_image(1)
    assert np.array_equal(read(encoded(image, kind)), array(image))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_gray_stays_one_channel_and_can_become_three(kind):
    image = make_image(2, mode="L")
    data = encoded(image, kind)
    assert read_header(opened(data)) == Header(5, 6, gray=True)
    assert np.array_equal(read(data, 1), array(image))
    assert np.array_equal(read(data, 3), np.repeat(array(image), 3, axis=0))


def test_jpeg_is_close_to_what_was_stored():
    smooth = Image.linear_gradient("L").resize((40, 30))
    assert np.abs(read(encoded(smooth, "JPEG", quality=95), 1).astype(int) - array(smooth)).max() < 6


def test_color_becomes_luminance():
    image = make_image(3)
    red, green, blue = array(image).astype(float)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R 601
    assert np.abs(read(encoded(image), 1)[0] - luminance).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_lie_on_white(mode):
    image = make_image(4, mode=mode)
    pixels = np.asarray(image).astype(float)
    alpha = pixels[..., -1:] / 255
    expected = (pixels[..., :-1] * alpha + 255 * (1 - alpha)).transpose(2, 0, 1)
    channels = len(expected)
    assert read_header(opened(encoded(image))).gray is (mode == "LA")
    assert np.abs(read(encoded(image), channels) - expected).max() <= 1


def test_a_transparent_color_of_a_palette_lies_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    pixels = read(encoded(image, transparency=0))
    assert pixels[:, 0, 0].tolist() == [255, 255, 255]
    assert pixels[:, 0, 1].tolist() == [200, 100, 50]


def test_black_and_white_becomes_0_and_255():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert read(encoded(image), 1).tolist() == [[[0, 255]]]


def test_16_bits_are_scaled_to_8():
    levels = np.array([[0, 128, 129, 32768, 65407, 65535]], dtype=np.uint16)
    data = encoded(Image.fromarray(levels))
    assert read_header(opened(data)).gray
    assert read(data, 1).tolist() == [[np.round(levels[0] / 257).astype(int).tolist()]]


def test_values_without_a_range_are_refused():
    data = encoded(Image.fromarray(np.zeros((2, 2), dtype=np.float32)), "TIFF")
    with pytest.raises(ValueError, match="mode 'F'"):
        read_pixels(opened(data), (1, 2, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_images_stand_as_their_exif_data_says(kind, orientation):
    # A bright corner; where it must go is written down from the EXIF standard.
    image = Image.new("L", (16, 8))
    image.paste(255, (0, 0, 8, 4))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(image.convert("RGB"), kind, exif=exif)
    pixels = read(data)[0] > 128
    turned = orientation >= 5
    assert pixels.shape == ((16, 8) if turned else (8, 16))
    height, width = (8, 4) if turned else (4, 8)
    top = {1: True, 2: True, 3: False, 4: False, 5: True, 6: True, 7: False, 8: False}[orientation]
    left = {1: True, 2: False, 3: False, 4: True, 5: True, 6: False, 7: False, 8: True}[orientation]
    expected = np.zeros(pixels.shape, dtype=bool)
    expected[slice(height) if top else slice(-height, None), slice(width) if left else slice(-width, None)] = True
    assert np.array_equal(pixels, expected)


def test_another_size_is_covered_and_cut_at_the_center():
    # Three vertical bands: a square from their middle sees the middle band alone.
    image = Image.new("RGB", (90, 30), "red")
    image.paste("lime", (30, 0, 60, 30))
    image.paste("blue", (60, 0, 90, 30))
    pixels = read_pixels(image, (3, 10, 10))
    assert pixels.shape == (3, 10, 10)
    inner = pixels[:, :, 1:-1]  # the filter mixes a little of the neighbors into the outermost columns
    assert (inner[1] == 255).all()
    assert (inner[[0, 2]] == 0).all()
    assert np.array_equal(pixels[0], pixels[2, :, ::-1])


def test_shrinking_averages():
    fine = Image.fromarray(np.tile(np.array([[0, 255], [255, 0]], dtype=np.uint8), (32, 32)))
    assert np.abs(read_pixels(fine, (1, 4, 4)).astype(int) - 127).max() < 12


def test_a_damaged_image_is_an_error():
    with pytest.raises(OSError, match="truncated"):
        read(encoded(make_image(5, (200, 200)), "JPEG")[:-300])


def test_only_regular_files_of_known_formats_are_opened(tmp_path):
    Image.new("RGB", (8, 4), "red").save(tmp_path / "a.eps")  # which would start Ghostscript
    Image.new("RGB", (8, 4), "red").save(tmp_path / "b.png")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no image in a known format"):
        open_image(tmp_path / "a.png")
    (tmp_path / "b.png").rename(tmp_path / "b.tiff")  # the ending says nothing
    for source in (tmp_path / "b.tiff", (tmp_path / "b.tiff").read_bytes()):
        with open_image(source) as image:
            assert read_pixels(image, (3, 4, 8)).tolist() == np.full((3, 4, 8), [[[255]], [[0]], [[0]]]).tolist()
    with pytest.raises(ValueError, match="it is no regular file"):
        open_image(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_image(tmp_path / "c.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="it is no regular file"):
        open_image(tmp_path / "a.png")


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    Image.new("1", (300, 200)).save(tmp_path / "a.png")
    open_image(tmp_path / "a.png", 60_000).close()
    with pytest.raises(ValueError, match=r"it has 300 x 200 pixels; at most 59,999 are read"):
        open_image(tmp_path / "a.png", 59_999)


def test_images_of_a_folder_are_found_once(tmp_path):
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("z.png", "b/c/a.JPG", "b/a.webp", ".hidden/a.png", ".a.png", "b/notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "b" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert image_names(tmp_path) == ["b/a.webp", "b/c/a.JPG", "z.png"]
