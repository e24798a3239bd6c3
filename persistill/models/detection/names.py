"""Names of detectors that are a head on an encoder: "fcos:timm/NAME", "retinanet-64:resnet-8x4"."""

import re
from typing import NamedTuple

from persistill.errors import UserError
from persistill.models.detection.heads import HEADS, WIDTH

OWN_WIDTH = 64
"""Channels of the levels on persistill's own networks, which are made for small machines."""
_GROUPS = 32
"""Of the group normalization in FCOS, which divide the channels."""
_NARROWEST = 64
"""With one channel a group, a level of one place would have nothing to normalize over."""
_WIDEST = 1024

_NAME = re.compile(rf"({'|'.join(HEADS)})(?:-(\d{{1,4}}))?:(.+)")


class HeadName(NamedTuple):
    """What such a name says.

    Attributes:
        head: one of ``HEADS``.
        width: channels of the levels; None for 64 on persistill's own networks and 256 on others.
        encoder: name of the network below.
    """

    head: str
    width: int | None
    encoder: str

    @property
    def channels(self) -> int:
        """Of the levels."""
        return self.width if self.width is not None else (WIDTH if "/" in self.encoder else OWN_WIDTH)


def split_head(name: str) -> HeadName | None:
    """The parts of a name, or None for one of another form."""
    found = _NAME.fullmatch(name)
    return None if found is None else HeadName(found[1], int(found[2]) if found[2] else None, found[3])


def check_width(name: HeadName) -> None:
    """See that the levels can have so many channels.

    Raises:
        UserError: if they cannot.
    """
    if name.channels % _GROUPS or not _NARROWEST <= name.channels <= _WIDEST:
        raise UserError(
            f"the levels of {name.head}-{name.channels}:{name.encoder} cannot have {name.channels} channels: give a "
            f"multiple of {_GROUPS} from {_NARROWEST} to {_WIDEST}, or none for {WIDTH} ({OWN_WIDTH} on persistill's "
            "own networks)."
        )
