"""Images for the explorer: samples, files of one's own, and how they travel as JSON."""

import base64
import binascii
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from persistill.errors import UserError, unknown
from persistill.utils.image_reader import FORMATS, MAX_UPLOAD_PIXELS, open_image, read_header
from persistill.utils.preprocessing import read_pixels

LARGEST = 128
"""Longest side of an image in the explorer, in pixels."""
SAMPLES = ("flower", "china", *(f"digit-{digit}" for digit in range(10)))
"""Names of the images that ship with scikit-learn."""

Pixels = NDArray[np.uint8]


def decode(content: bytes) -> Pixels:
    """Decode an image file and make it at most 128 pixels high and wide, its shape kept.

    Args:
        content: an image file, of one of ``utils.image_reader.FORMATS``.

    Returns:
        (C, H, W) pixels, C = 1 for gray images and 3 for others.

    Raises:
        UserError: if it is no such file, is damaged, or has more than ``MAX_UPLOAD_PIXELS``.
    """
    kinds = ", ".join(FORMATS)
    if not content:
        raise UserError(f"the file is empty. Give an image ({kinds}).")
    try:
        with open_image(content, MAX_UPLOAD_PIXELS) as image:
            header = read_header(image)
            return _reduced(image, 1 if header.gray else 3, header.height, header.width)
    except Exception as error:  # decoders raise whatever comes to hand on damaged files
        raise UserError(f"the image cannot be read: {error}. Give one of these kinds: {kinds}.") from error


@functools.cache
def sample(name: str) -> Pixels:
    """An image that ships with scikit-learn, (C, H, W), at most 128 pixels high and wide.

    Raises:
        UserError: if there is none of this name.
    """
    if name not in SAMPLES:
        raise unknown("sample image", name, SAMPLES)
    if name.startswith("digit-"):
        digits = load_digits()
        first = int(np.flatnonzero(digits.target == int(name[-1]))[0])
        digit: Pixels = (digits.images[first] * (255 / 16)).round().astype(np.uint8)[None]
        return digit
    photograph = load_sample_image(f"{name}.jpg")
    return _reduced(Image.fromarray(photograph), 3, *photograph.shape[:2])


def to_json(pixels: Pixels) -> dict[str, Any]:
    """An image as plain JSON: height, width, channels, and all pixels, channel by channel, in base64."""
    channels, height, width = pixels.shape
    packed = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "pixels": packed}


def from_json(content: object) -> Pixels:
    """The image that ``to_json`` wrote.

    Raises:
        UserError: if it is none, or too large.
    """
    if not isinstance(content, Mapping):
        raise UserError("the request holds no image: 'image' must be an object with its size and pixels.")
    sides = [content.get(name) for name in ("channels", "height", "width")]
    if not all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= LARGEST for side in sides):
        raise UserError(f"an image is 1 to {LARGEST} pixels high and wide; got {sides[1]} x {sides[2]}.")
    if sides[0] not in (1, 3):
        raise UserError(f"an image has 1 or 3 channels; got {sides[0]}.")
    packed = content.get("pixels")
    try:
        raw = base64.b64decode(packed, validate=True) if isinstance(packed, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    count = int(np.prod([side for side in sides if isinstance(side, int)]))
    if len(raw) != count:
        raise UserError(f"an image of this size has {count} pixels over all channels; got {len(raw)}.")
    return np.frombuffer(raw, np.uint8).reshape([side for side in sides if isinstance(side, int)])


def _reduced(image: Image.Image, channels: int, height: int, width: int) -> Pixels:
    scale = min(1.0, LARGEST / max(height, width))
    return read_pixels(image, (channels, max(1, round(height * scale)), max(1, round(width * scale))))
