"""A folder of results: what it belongs to, and that one process at a time writes into it.

While results grow it holds ``unfinished.json``, which says what they belong to and how far they are, and files ending
in ``.unfinished``. Whole, it holds ``settings.json``, which is written last.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from persistill.errors import UserError
from persistill.run_folder import circumstances
from persistill.utils import file_lock
from persistill.utils.atomic_io import read_json, sweep, write_json

FORMAT = 1
SETTINGS = "settings.json"
INDEX = "index.json"
"""Lists the shards of whole results."""
_NOTE = "unfinished.json"
_LOCK = ".lock"
_MAKER = "persistill topology"


class Reached(NamedTuple):
    """How far the results are; replaced as a whole, so that an interruption finds nothing half done.

    Attributes:
        position: how many images of the source were dealt with.
        rows: how many of them could be read, and so have results.
        mark: a hash of the images that were dealt with.
        skipped: [name, why] of those that could not be read.
        tally: numbers that the results are told with.
        sizes: bytes of each growing file.
    """

    position: int
    rows: int
    mark: str
    skipped: list[list[str]]
    tally: dict[str, int]
    sizes: dict[str, int]

    @classmethod
    def nothing(cls, files: Iterable[str] = ()) -> "Reached":
        """The beginning, of growing files with these names."""
        return cls(0, 0, "", [], {}, dict.fromkeys(files, 0))


class ResultFolder:
    """A folder of results of one source and one set of parameters.

    Attributes:
        path: where.
        noted: what ``unfinished.json`` or ``settings.json`` tells of how far the results are; None where there is none.

    Args:
        path: where; it need not exist.
        parameters: all that the results depend on but the images, plain JSON.

    Raises:
        UserError: if it holds something else, or another process writes into it.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any]) -> None:
        self.path = path
        self._parameters = dict(parameters)
        self._lock = contextlib.ExitStack()
        require_ours(path)
        if path.exists() and os.access(path, os.W_OK):
            self._hold()
        about = _read(path)
        self._there: Mapping[str, Any] = {} if about is None else about["parameters"]
        self.noted = None if about is None else Reached(**about["progress"])

    @property
    def complete(self) -> bool:
        """Whether the results are whole."""
        return (self.path / SETTINGS).exists()

    @property
    def writable(self) -> bool:
        """Whether files in it may be changed."""
        return os.access(self.path, os.W_OK)

    def require_parameters(self) -> None:
        """Raise a UserError if what is there belongs to other parameters."""
        differences = list(_differences(self._there, self._parameters))
        if differences:
            raise UserError(
                f"{self.path} holds results of other parameters: {'; '.join(differences)}. Nothing was changed. "
                "Give another --out, or move that folder away."
            )

    def make(self) -> None:
        """Make it if need be, and keep other processes from writing into it."""
        if not self.path.exists():
            self.path.mkdir(parents=True)
            self._hold()

    def note(self, reached: Reached) -> None:
        """Write how far the results are."""
        write_json(self.path / _NOTE, self._about(reached))

    def finish(self, reached: Reached, more: Mapping[str, Any]) -> None:
        """Write ``settings.json``: from here on the results are whole.

        Args:
            reached: with all images.
            more: what the settings tell beside parameters and progress.
        """
        write_json(self.path / SETTINGS, {**self._about(reached), **more, **circumstances()})
        self.tidy()

    def tidy(self) -> None:
        """Remove what whole results do not need any more."""
        (self.path / _NOTE).unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes write into it."""
        if self.complete and self.writable:
            (self.path / _LOCK).unlink(missing_ok=True)
        self._lock.close()

    def _hold(self) -> None:
        """Keep other processes from writing here until this one ends or closes, and remove what a killed one left."""
        try:
            self._lock.enter_context(file_lock.hold(self.path / _LOCK))
        except file_lock.LockHeldError:
            raise UserError(
                f"another process is writing into {self.path}. Wait until it is done, or give another --out."
            ) from None
        sweep(self.path)

    def _about(self, reached: Reached) -> dict[str, Any]:
        about = {"made by": _MAKER, "format": FORMAT, "parameters": self._parameters}
        return {**about, "progress": reached._asdict()}


def require_ours(folder: Path) -> None:
    """Raise a UserError if ``folder`` is a file, or holds something that was not written here."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; --out names a folder.")
    found = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if found and _read(folder) is None:
        shown = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise UserError(
            f"{folder} holds something else ({shown}). Nothing was changed; give a new or an empty folder as --out."
        )


def noted_parameters(folder: Path) -> Mapping[str, Any] | None:
    """The parameters of the results in a folder, whole or not; None if there are none.

    Raises:
        UserError: if they are of another format.
    """
    about = _read(folder)
    return None if about is None else about["parameters"]


def _read(folder: Path) -> dict[str, Any] | None:
    for name in (SETTINGS, _NOTE):
        path = folder / name
        if path.is_file():
            about = read_json(path)
            if isinstance(about, dict) and about.get("made by") == _MAKER:
                if about.get("format") != FORMAT:
                    raise UserError(f"{path} has format {about.get('format')}; this version reads format {FORMAT}.")
                return about
    return None


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name), here.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield f"{prefix}{name} is {old} there and {new} here"
