"""Encoded images and masks, opened with care. Imports no torch: what answers images of its user starts at once."""

import io
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, features

from persistill.utils.preprocessing import DEFAULT, Preprocessing, fit_frame, is_deep

_AVIF = "avif" in features.modules and features.check_module("avif")
"""Pillow reads it since 11.3, where it was built with it."""
SUFFIXES = frozenset(
    {
        *(".apng", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
        *(".tif", ".tiff", ".webp"),
        *((".avif",) if _AVIF else ()),
    }
)
"""File names with other endings are no images."""
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", *(("AVIF",) if _AVIF else ()))
"""What is read, by Pillow's names, whatever a file is called. No other decoder of Pillow's is tried: some are rarely
looked after, and that of EPS starts another program."""
MAX_PIXELS = 178_956_970
"""The largest image that is read: beyond it, Pillow takes a file for one that was made to fill the memory."""
MAX_UPLOAD_PIXELS = 40_000_000
"""The largest image that the dashboard takes from a browser."""

_GRAY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_MASKS = {"1", "L", "P", "I;16", "I;16L", "I;16B", "I;16N"}
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What is known of an image before it is decoded.

    Attributes:
        height: as displayed.
        width: as displayed.
        gray: whether it has no color.
        deep: whether it has more than 8 bits a value.
    """

    height: int
    width: int
    gray: bool
    deep: bool = False


def open_image(source: Path | bytes | BinaryIO, limit: int = MAX_PIXELS) -> Image.Image:
    """Open an image; only its header is read.

    Args:
        source: a file by its path, its bytes, or opened.
        limit: the most pixels that it may have.

    Raises:
        ValueError: if it is no regular file (a pipe could wait for ever), no image of ``FORMATS``, or too large.
        OSError: if the file cannot be read.
    """
    if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
        raise ValueError("it is no regular file")
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError("no image in a known format") from None  # Pillow's own words name an object in memory
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the latter where warnings are errors
        raise ValueError(f"it has more than {limit:,} pixels") from None
    if image.width * image.height > limit:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ValueError(f"it has {size} pixels; at most {limit:,} are read")
    return image


def read_header(image: Image.Image) -> Header:
    """The header of an opened image, with the orientation that its EXIF data asks for."""
    width, height = image.size
    # Without EXIF data in the header, getexif() would decode a whole PNG to look behind its pixels. TIFF keeps the
    # orientation elsewhere, and its size is that of the turned image already.
    if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) >= 5:
        width, height = height, width
    return Header(height, width, image.mode in _GRAY, is_deep(image))


IGNORED = 255
"""What stands in a mask that was read for a pixel without a class. In batches it is ``IGNORE_INDEX``."""


def read_mask(
    mask: Image.Image,
    size: tuple[int, int],
    classes: int | None,
    ignore: int,
    preprocessing: Preprocessing = DEFAULT,
) -> npt.NDArray[np.uint8]:
    """Decode the mask of an image; the classes are the gray values, or the indices of a palette.

    The frame is that of ``read_pixels``, without interpolation: every pixel has the class of the nearest one, and
    what a letterbox adds has none.

    Args:
        mask: an opened mask.
        size: (H, W) of the answer.
        classes: how many there are; None to take whatever number is there.
        ignore: the value of pixels without a class.
        preprocessing: how the size of the image is changed.

    Returns:
        (H, W): classes from 0, and ``IGNORED`` where there is none.

    Raises:
        ValueError: if it has colors or holds a number that is no class.
        OSError: or another error of the decoder, if the file is damaged.
    """
    ImageOps.exif_transpose(mask, in_place=True)
    if mask.mode not in _MASKS:
        raise ValueError(
            f"its mask has mode {mask.mode!r}, and the class of a pixel is one integer: save it with one channel of "
            "8 bits, or with a palette"
        )
    values = np.asarray(mask).astype(np.int64)
    has_class = values != ignore
    largest = IGNORED - 1 if classes is None else classes - 1
    if (wrong := values[has_class & ((values < 0) | (values > largest))]).size:
        raise ValueError(f"its mask holds the class {wrong[0]}: classes are 0 to {largest}, and {ignore} is ignored")
    indices = Image.fromarray(np.where(has_class, values, IGNORED).astype(np.uint8))
    height, width = size
    return np.asarray(fit_frame(indices, (width, height), preprocessing, Image.Resampling.NEAREST, padding=IGNORED))
