"""What a long computation tells whoever watches it. The rooms speak to this protocol, the command line draws it."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Receives the progress of one stage after another."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage of ``total`` units, of which ``done`` were finished by an earlier, interrupted call."""

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:
        """Report ``units`` more, with a short note ("epoch 3/10") and values to show beside the bar."""

    def finish(self, note: str = "") -> None:
        """End the stage that was started last."""


class Silent:
    """A progress that shows nothing, for library calls and tests."""

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Show nothing."""

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:
        """Show nothing."""

    def finish(self, note: str = "") -> None:
        """Show nothing."""


@runtime_checkable
class Parallel(Protocol):
    """A progress that can show several stages at a time."""

    def beside(self) -> Progress:
        """A progress of its own for stages that are worked at beside others."""


class OnceFinished:
    """Tells a progress that shows one stage at a time of a stage when it is finished.

    Args:
        progress: to be told.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage, self._total, self._done, self._note = "", 0, 0, ""
        self._values: dict[str, float] = {}

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Note what begins."""
        self._stage, self._total, self._done, self._note, self._values = stage, total, done, "", {}

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Note what was told last."""
        self._note, self._values = note or self._note, dict(values or {}) or self._values

    def finish(self, note: str = "") -> None:
        """Tell all of it."""
        self._progress.start(self._stage, self._total, self._done)
        self._progress.advance(max(0, self._total - self._done), self._note, self._values)
        self._progress.finish(note)


def beside(progress: Progress) -> Progress:
    """A progress for stages that are worked at beside those that another progress is told of."""
    return progress.beside() if isinstance(progress, Parallel) else OnceFinished(progress)
