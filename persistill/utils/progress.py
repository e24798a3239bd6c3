"""What a long computation tells whoever watches it. The rooms speak to this protocol, the command line draws it."""

from collections.abc import Mapping
from typing import Protocol


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
