"""Where an error came up that was raised in another process."""

import traceback
from collections.abc import Sequence
from traceback import FrameSummary

CARRIED = "<dynamic-code>"
"""What cloudpickle calls the file of code that it carries along, which is the recipe's."""


class RemoteFaultError(Exception):
    """The cause of an error that another process raised: the traceback of there.

    Args:
        trace: the traceback, as text.
        frames: file, line and name of each call, outermost first.
    """

    def __init__(self, trace: str, frames: Sequence[tuple[str, int, str]]) -> None:
        super().__init__(f"in another process\n\n{trace}")
        self._frames = tuple(frames)

    @property
    def frames(self) -> list[FrameSummary]:
        """The calls, outermost first."""
        return [FrameSummary(*frame, lookup_line=False) for frame in self._frames]


def frames_of(error: BaseException) -> list[FrameSummary]:
    """The calls that led to an error, outermost first, in the process that raised it."""
    cause = error.__cause__
    return cause.frames if isinstance(cause, RemoteFaultError) else list(traceback.extract_tb(error.__traceback__))
