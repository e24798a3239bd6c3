"""The place of the run folders, as stages see it."""

import contextlib
from pathlib import Path

from persistill.utils.output_folder import require_folder


class Runs:
    """Run folders below a folder of this machine, where nothing has to be brought or taken away.

    Args:
        path: of the folder.

    Attributes:
        path: the folder below which stages are worked at.
        place: how its user calls it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """What was given for it: a path or a URL."""
        return str(self.path)

    def require(self) -> None:
        """See that run folders can be written there.

        Raises:
            UserError: if they cannot.
        """
        require_folder(self.path)

    def fetch(self, name: str, *, locked: bool = False, now: bool = False) -> bool:  # noqa: ARG002 - of the URL's
        """Have the newest state of a finished stage in the folder.

        Args:
            name: of the run folder.
            locked: whether the caller holds its lock.
            now: look even if that was done a moment ago.

        Returns:
            Whether the stage is finished.
        """
        return (self.path / name / "done.json").is_file()

    def published(self, name: str) -> bool:  # noqa: ARG002
        """Whether a finished stage needs not be handed on."""
        return True

    def publish(self, name: str) -> None:
        """Hand on a finished stage, whose lock the caller holds."""

    def retract(self, name: str) -> None:
        """Have nobody believe a finished stage any more."""

    def leased(self, name: str, *, wait: bool) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Keep other machines from working at a stage whose lock the caller holds.

        Args:
            name: of the run folder.
            wait: for a machine that works at it.

        Raises:
            LockHeldError: on entering, if another machine works at it and ``wait`` is false.
        """
        return contextlib.nullcontext()

    def take_up(self, name: str) -> None:
        """Have the newest checkpoint of a training, whose lock the caller holds, in the folder."""

    def handing_on(self, name: str) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        """Hand on the checkpoints of a training that are written in a block."""
        return contextlib.nullcontext()

    def put(self, file: str) -> None:
        """Hand on one file below the folder that is no part of what a stage left."""

    def get(self, file: str) -> None:
        """Have the newest state of such a file in the folder, if there is one."""
