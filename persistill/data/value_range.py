"""The range of values of images that have more than 8 bits."""

from collections.abc import Iterable, Sequence

from PIL import Image

from persistill.config import Data
from persistill.errors import UserError
from persistill.utils.preprocessing import deep_values

Range = tuple[float, float]
LARGEST_LOOKED_AT = 1000
"""Images of more than 8 bits that are decoded at most to see whether they use the range of 16 bits."""
_FULL = 65535
_DARK = _FULL / 4
"""Images that stay below a quarter of the range use 6 of the 8 bits to which they are brought, at most."""


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


def describe_depth(found: Sequence[Range], deep: int, total: int, settings: Data) -> list[str]:
    """What a user should know of training images of more than 8 bits, a sentence each.

    Args:
        found: ranges of some or all of them; empty where they were not looked at.
        deep: how many there are.
        total: how many training images there are.
        settings: where and how they are read.
    """
    if not deep:
        return []
    plural = "s" * (deep > 1)
    notes = []
    if deep < total:
        notes.append(
            f"{deep:,} of {total:,} training images {'have' if deep > 1 else 'has'} more than 8 bits, and the others "
            "have 8: see that the two kinds look alike once they are brought to 8 bits (data.range)."
        )
    low, high = min((one for one, _ in found), default=0.0), max((one for _, one in found), default=0.0)
    if settings.range == "full" and low < high < _DARK:
        looked = f" in {len(found):,} of them" if len(found) < deep else ""
        notes.append(
            f"{deep:,} training image{plural} of more than 8 bits, largest value {high:g} of {_FULL}{looked}: nearly "
            "black to networks. Let the values that are there span black to white: --set data.range=measured"
        )
    return notes
