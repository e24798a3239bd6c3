"""What every way to walk a graph of stages has in common."""

from collections.abc import Callable
from typing import Protocol

from persistill.pipeline.executors.walk import Walk


class Executor(Protocol):
    """A way to have stages worked at elsewhere, several at a time."""

    @property
    def workers(self) -> int:
        """Stages that may be worked at on this machine at the same time."""

    def run(self, walk: Walk, watch: Callable[[], None] = lambda: None) -> None:
        """Work until nothing is left of a walk.

        Args:
            walk: what is to be done; it may grow and shrink on the way.
            watch: called again and again meanwhile. What it takes back from the walk is stopped.

        Raises:
            UserError: if a folder was written by another recipe, or a stage finds a mistake that its user can mend.
            Stopped: after a signal; whatever is worked at has been told to stop.
        """
