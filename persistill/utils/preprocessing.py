"""From an opened image to the 8-bit pixels that a network sees: the same in training, evaluation and prediction.

Needs Pillow and NumPy alone.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Resize = Literal["crop", "squash", "letterbox"]

_NO_RANGE = {"I", "F"}
_FULL = (0.0, 65535.0)
_RESIZE_IN_WORDS: Mapping[Resize, str] = {
    "crop": "scaled until it covers the frame, and cropped at its center",
    "squash": "scaled to the frame, whatever its proportions",
    "letterbox": "scaled until it fits into the frame, centered, and the rest is black",
}


class Preprocessing(NamedTuple):
    """What of the reading of images is up to a recipe. It is kept with the weights of every network.

    Attributes:
        resize: how an image of another size gets the size of the network's input (see ``fit_frame``).
        range: the values of images of more than 8 bits that become 0 and 255; what lies outside is cut. None for 0 and
            65535, for 16 bits; images of 32-bit values cannot be read then.
    """

    resize: Resize = "crop"
    range: tuple[float, float] | None = None

    @classmethod
    def from_json(cls, content: object) -> Self:
        """From what ``to_json`` gave; None stands for the default, as in files of before there was a choice.

        Raises:
            ValueError: if it is something else.
        """
        if content is None:
            return cls()
        if not isinstance(content, Mapping) or content.keys() != {"resize", "range"}:
            raise ValueError(f"preprocessing must hold resize and range; {content!r} was given")
        resize, values = content["resize"], content["range"]
        if resize not in get_args(Resize):
            raise ValueError(f"preprocessing.resize must be one of {', '.join(get_args(Resize))}; it is {resize!r}")
        if values is None:
            return cls(resize)
        numbers = isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values)
        if not numbers or len(values) != 2 or not -math.inf < values[0] < values[1] < math.inf:
            raise ValueError(f"preprocessing.range must be two numbers, the lower one first; it is {values!r}")
        return cls(resize, (float(values[0]), float(values[1])))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"resize": self.resize, "range": None if self.range is None else list(self.range)}

    @property
    def in_words(self) -> str:
        """How an image is read, for people."""
        low, high = self.range or _FULL
        return (
            "The EXIF orientation is applied and transparent pixels are laid on white. An image of another size is "
            f"{_RESIZE_IN_WORDS[self.resize]} (bicubic, antialiased). Values of more than 8 bits are scaled from "
            f"{low:g} to {high:g} to 0 to 255."
        )


DEFAULT = Preprocessing()


def is_deep(image: Image.Image) -> bool:
    """Whether an opened image has more than 8 bits a value."""
    return image.mode in _NO_RANGE or image.mode.startswith("I;16")


def require_range(image: Image.Image, preprocessing: Preprocessing) -> None:
    """Refuse an opened image whose values have no known range (32-bit integers, floating point).

    Raises:
        ValueError: if it is such an image, and ``preprocessing`` states no range.
    """
    if image.mode in _NO_RANGE and preprocessing.range is None:
        raise ValueError(
            f"mode {image.mode!r} (32-bit values) has no known range: save it with 8 or 16 bits, or train with "
            "data.range=measured or data.range=(low, high)"
        )


def read_pixels(
    image: Image.Image, shape: tuple[int, int, int], preprocessing: Preprocessing = DEFAULT
) -> npt.NDArray[np.uint8]:
    """Decode an image.

    The EXIF orientation is applied; transparent pixels are laid on white; gray values of more than 8 bits are scaled to
    8 bits; an image of another size is brought to that of the answer.

    Args:
        image: an opened image.
        shape: (C, H, W) of the answer, C = 1 (luminance) or 3 (RGB).
        preprocessing: the range of values of more than 8 bits, and how sizes are changed.

    Returns:
        (C, H, W) pixels.

    Raises:
        ValueError: if the values have no known range, or are not finite.
        OSError: or another error of the decoder, if the file is damaged.
    """
    require_range(image, preprocessing)
    ImageOps.exif_transpose(image, in_place=True)
    if is_deep(image):
        image = Image.fromarray(_to_8_bits(deep_values(image), preprocessing.range))
    elif image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    channels, height, width = shape
    image = fit_frame(
        image.convert("L" if channels == 1 else "RGB"), (width, height), preprocessing, Image.Resampling.BICUBIC
    )
    pixels: npt.NDArray[np.uint8] = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def fit_frame(
    image: Image.Image,
    size: tuple[int, int],
    preprocessing: Preprocessing,
    resampling: Image.Resampling,
    padding: int = 0,
) -> Image.Image:
    """Bring an image to a size.

    * "crop": scaled until it covers the frame, and cropped at its center.
    * "squash": scaled to the frame, whatever its proportions.
    * "letterbox": scaled until it fits into the frame, centered, and the rest is padded.

    Args:
        image: 8-bit gray or RGB, or a mask.
        size: (width, height).
        preprocessing: says which.
        resampling: of the scaling.
        padding: value of what a letterbox adds.
    """
    if image.size == size:
        return image
    if preprocessing.resize == "crop":
        return ImageOps.fit(image, size, resampling)
    if preprocessing.resize == "squash":
        return image.resize(size, resampling)
    inner, corner = letterbox(image.size, size)
    framed = Image.new(image.mode, size, padding if len(image.getbands()) == 1 else (padding,) * 3)
    framed.paste(image.resize(inner, resampling), corner)
    return framed


def letterbox(image: tuple[int, int], frame: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of an image that was scaled until it fits into a frame, and its upper left corner there; width first."""
    scale = min(frame[0] / image[0], frame[1] / image[1])
    width, height = (min(full, max(1, round(side * scale))) for side, full in zip(image, frame, strict=True))
    return (width, height), ((frame[0] - width) // 2, (frame[1] - height) // 2)


def framing(
    image: tuple[int, int], frame: tuple[int, int], preprocessing: Preprocessing
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where ``fit_frame`` puts the places of an image: x, y are at x * scale + shift.

    Args:
        image: its width and height.
        frame: likewise, to which it is brought.
        preprocessing: says how.

    Returns:
        Scale and shift, each of x and of y.
    """
    if image == frame:
        return (1.0, 1.0), (0.0, 0.0)
    if preprocessing.resize == "letterbox":
        inner, corner = letterbox(image, frame)
        return (inner[0] / image[0], inner[1] / image[1]), (float(corner[0]), float(corner[1]))
    across, down = frame[0] / image[0], frame[1] / image[1]
    if preprocessing.resize == "squash":
        return (across, down), (0.0, 0.0)
    scale = max(across, down)
    return (scale, scale), ((frame[0] - scale * image[0]) / 2, (frame[1] - scale * image[1]) / 2)


def restore_boxes(
    boxes: npt.NDArray[Any], image: tuple[int, int], frame: tuple[int, int], preprocessing: Preprocessing
) -> npt.NDArray[np.float64]:
    """Bring boxes in a frame back to the image that was brought to it.

    Args:
        boxes: (n, 4), x1, y1, x2, y2 in pixels of the frame.
        image: width and height of the image, turned as its EXIF orientation says.
        frame: likewise.
        preprocessing: says how the image was brought to the frame.

    Returns:
        (n, 4) in pixels of the image, clipped to it.
    """
    scale, shift = framing(image, frame, preprocessing)
    restored: npt.NDArray[np.float64] = (boxes.astype(np.float64) - [*shift, *shift]) / [*scale, *scale]
    return restored.clip(0, [*image, *image])


def deep_values(image: Image.Image) -> npt.NDArray[Any]:
    """(H, W) values of an image of more than 8 bits.

    Raises:
        ValueError: if they are not finite.
        OSError: or another error of the decoder, if the file is damaged.
    """
    values: npt.NDArray[Any] = np.asarray(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("it holds values that are not finite")
    return values


def _to_8_bits(values: npt.NDArray[Any], span: tuple[float, float] | None) -> npt.NDArray[np.uint8]:
    if span is None:
        scaled = (values.astype(np.uint32) * 255 + 32767) // 65535
    else:
        low, high = span
        scaled = np.rint(((values.astype(np.float64) - low) * (255 / (high - low))).clip(0, 255))
    pixels: npt.NDArray[np.uint8] = scaled.astype(np.uint8)
    return pixels
