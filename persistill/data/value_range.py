"""The range of values of images that have more than 8 bits."""

from collections.abc import Iterable

from PIL import Image

from persistill.config import Data
from persistill.errors import UserError
from persistill.utils.preprocessing import deep_values

Range = tuple[float, float]


def measure_range(image: Image.Image) -> Range:
    """The smallest and the largest value of one image of more than 8 bits.

    Raises:
        ValueError: if its values are not finite.
        OSError: or another error of the decoder, if the file is damaged.
    """
    values = deep_values(image)
    return float(values.min()), float(values.max())


def join_ranges(found: Iterable[Range], settings: Data) -> Range | None:
    """The range that covers all; None if there is none.

    Raises:
        UserError: if it is one value.
    """
    ranges = list(found)
    if not ranges:
        return None
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    if low == high:
        raise UserError(
            f"all {len(ranges)} training images of {settings.where} with more than 8 bits hold one value, {low:g}, so "
            "that there is no range to measure (data.range=measured). State it: --set data.range=0,65535"
        )
    return low, high
