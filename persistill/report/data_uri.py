"""Images in the page itself, as data URIs, each with a text for who cannot see it."""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from persistill.utils.class_colors import class_colors

_EXACT = 64  # pixels: larger images are photographs, which JPEG keeps in a fifth of the bytes
_GAPS = 24  # how many gaps between the images of a sheet are as wide as one of them
_COLORS = {3: ("red", "green", "blue"), 1: ("",)}


class Inlined(NamedTuple):
    """An image in the page itself.

    Attributes:
        source: a data URI.
        text: what it shows, for who cannot see it.
        label: what stands below it; may be empty.
    """

    source: str
    text: str
    label: str = ""

    @property
    def style(self) -> str:
        """Its class in the style sheet: cells stay cells, and photographs are smoothed."""
        return "pixels" if self.source.startswith("data:image/png") else "photograph"


def inlined_image(pixels: NDArray[np.uint8], name: str) -> Inlined:
    """An image of a class.

    Args:
        pixels: (C, H, W).
        name: of the class.
    """
    channels, height, width = pixels.shape
    if channels == 3:
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    else:  # one channel, or so many that no colors stand for them
        image = Image.fromarray(np.round(pixels.mean(axis=0)).astype(np.uint8))
    return Inlined(_uri(image), f"Image of the class {name}, {width} by {height} pixels")


def inlined_mask(mask: NDArray[np.uint8], classes: int, label: str, text: str) -> Inlined:
    """A mask in the colors of its classes, pixels without a class in white.

    Args:
        mask: (H, W) class numbers, ``IGNORED`` for none.
        classes: how many there are.
        label: stands below it.
        text: what it shows, for who cannot see it.
    """
    palette = np.full((256, 3), 255, np.uint8)
    palette[:classes] = class_colors(classes)
    colored = Image.fromarray(mask)
    colored.putpalette(palette.tobytes())
    return Inlined(_uri(colored), text, label)


def inlined_channel(image: NDArray[Any], channel: str) -> Inlined:
    """One channel of a view, such as a persistence image.

    Args:
        image: (H, W), values in [0, 1].
        channel: what it is of; stands below it too.
    """
    levels = np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    return Inlined(_uri(_colored(levels)), f"{channel}: {_seen(image)}", channel)


def inlined_sheet(images: NDArray[Any], groups: Sequence[str]) -> Inlined:
    """All channels of a view in one: a row for each group, a column for each channel of the image.

    One channel's images stand beside each other. A sheet takes a third of the bytes of as many single images, for each
    of those holds its own table of colors.

    Args:
        images: (C, H, W), values in [0, 1], group by group.
        groups: names of the groups: scans, or dimensions.
    """
    channels, height, width = images.shape
    lines = len(groups) if groups and channels % len(groups) == 0 and channels > len(groups) else 1
    columns, gap = channels // lines, max(1, width // _GAPS)
    levels = np.full((lines * (height + gap) - gap, columns * (width + gap) - gap), 255, np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        place = levels[row * (height + gap) :, column * (width + gap) :]
        place[:height, :width] = np.round(254 * np.clip(np.nan_to_num(image), 0, 1))
    sheet = _colored(levels, 254)
    named = zip(channel_names(groups, channels), images, strict=True)
    text = "; ".join(f"{name}: {_seen(image)}" for name, image in named)
    return Inlined(_uri(sheet, transparency=255), text)


def channel_names(groups: Sequence[str], channels: int) -> list[str]:
    """What the channels of a view are called: all of the image's in the first group, then in the second."""
    if not groups or channels % len(groups):
        return [f"channel {number + 1}" for number in range(channels)]
    share = channels // len(groups)
    colors = _COLORS.get(share, tuple(f"channel {number + 1}" for number in range(share)))
    return [f"{group} {color}".strip() for group in groups for color in colors]


def _seen(image: NDArray[Any]) -> str:
    row, _ = np.unravel_index(int(np.nan_to_num(image).argmax()), image.shape)
    height = len(image)
    third = "upper" if row < height / 3 else "middle" if row < 2 * height / 3 else "lower"
    return f"largest value {image.max():.2f} in the {third} third, mean {image.mean():.3f}"


def _colored(levels: NDArray[np.uint8], top: int = 255) -> Image.Image:
    """Levels from 0 to ``top``, dark to bright."""
    colored = Image.fromarray(levels)
    scale = np.minimum(np.arange(256) / top, 1.0)
    colored.putpalette((255 * colormaps["viridis"](scale)[:, :3]).round().astype(np.uint8).tobytes())
    return colored


def _uri(image: Image.Image, **options: Any) -> str:
    kind = "PNG" if image.mode == "P" or max(image.size) <= _EXACT else "JPEG"
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True, **(options if kind == "PNG" else {"quality": 85}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
