"""A folder of results that grows chunk by chunk, and goes on where it stopped.

While it grows it holds ``unfinished.json``, which says what the results belong to and how far they are, and files
ending in ``.unfinished``. Whole, it holds ``settings.json``, which is written last.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple, Self

from persistill.errors import UserError
from persistill.run_folder import circumstances
from persistill.utils import file_lock
from persistill.utils.atomic_io import read_json, sweep, write_json

FORMAT = 1
SETTINGS = "settings.json"
_NOTE = "unfinished.json"
_LOCK = ".lock"
_MAKER = "persistill topology"
_SECONDS = 2.0  # of work that a crash may cost
_NOTHING: Mapping[str, int] = MappingProxyType({})


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


class ResumableWriter:
    """Writes results into a folder, and goes on where it stopped.

    Nothing is written before the first ``append``. As a context manager it keeps at the end, whatever happened, all
    that was told to ``advance``.

    Attributes:
        folder: where.
        reached: how far the results are.

    Args:
        folder: where; made if need be.
        parameters: all that the results depend on but the images, plain JSON.
        files: names of the files that grow.

    Raises:
        UserError: if the folder holds something else, or results of other parameters.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], files: Sequence[str]) -> None:
        self.folder = folder
        self.reached = Reached(0, 0, "", [], {}, dict.fromkeys(files, 0))
        self._parameters = dict(parameters)
        self._files: dict[str, BinaryIO] = {}
        self._saved = 0.0
        self._lock = contextlib.ExitStack()
        require_ours(folder)
        if folder.exists() and os.access(folder, os.W_OK):
            self._hold()
        about = _read(folder)
        if about is not None and (self.complete or about["progress"]["position"] > 0):
            self._continue(about)

    @property
    def complete(self) -> bool:
        """Whether the results are whole."""
        return (self.folder / SETTINGS).exists()

    def _continue(self, about: dict[str, Any]) -> None:
        differences = list(_differences(about["parameters"], self._parameters))
        if differences:
            raise UserError(
                f"{self.folder} holds results of other parameters: {'; '.join(differences)}. Nothing was changed. "
                "Give another --out, or move that folder away."
            )
        self.reached = Reached(**about["progress"])
        if self.complete:
            if os.access(self.folder, os.W_OK):
                self._tidy()  # stopped behind the settings
            return
        for name, size in self.reached.sizes.items():
            path = self.path(name)
            if not path.exists() and (self.folder / name).exists():
                (self.folder / name).rename(path)  # stopped between giving the name and writing the settings
            if not path.exists() or path.stat().st_size < size:
                raise UserError(f"{path} is missing or cut short. Remove the folder {self.folder} and begin again.")

    def _hold(self) -> None:
        """Keep other processes from writing here until this one ends or closes, and remove what a killed one left."""
        try:
            self._lock.enter_context(file_lock.hold(self.folder / _LOCK))
        except file_lock.LockHeldError:
            raise UserError(
                f"another process is writing into {self.folder}. Wait until it is done, or give another --out."
            ) from None
        sweep(self.folder)

    def path(self, name: str) -> Path:
        """Where a file lies as long as it grows."""
        return self.folder / f"{name}.unfinished"

    def append(self, name: str, data: "memoryview | bytes") -> None:
        """Let a file grow. What is not followed by ``advance`` will be cut off again."""
        if not self._files:
            if not self.folder.exists():
                self.folder.mkdir(parents=True)
                self._hold()
            self._save()
            for file, size in self.reached.sizes.items():
                self.path(file).touch()
                self._files[file] = self.path(file).open("rb+")
                self._files[file].truncate(size)
                self._files[file].seek(size)
        self._files[name].write(data)

    def advance(
        self,
        position: int,
        rows: int,
        mark: str,
        skipped: Sequence[list[str]] = (),
        tally: Mapping[str, int] = _NOTHING,
    ) -> None:
        """Count what was appended as the results of the images up to ``position``.

        It is safe from a crash after two seconds at most.

        Args:
            position: how many images were dealt with by now.
            rows: how many of these could be read.
            mark: a hash of all of them.
            skipped: [name, why] of those that could not be read, since the last call.
            tally: numbers to add to those that the results are told with.
        """
        last = self.reached
        self.reached = Reached(
            position,
            rows,
            mark,
            [*last.skipped, *skipped] if skipped else last.skipped,
            dict(Counter(last.tally) + Counter(tally)),
            {name: self._files[name].tell() if name in self._files else size for name, size in last.sizes.items()},
        )
        if time.monotonic() - self._saved > _SECONDS:
            self._save()

    def begin_with(self, name: str, data: bytes) -> None:
        """Write over the beginning of a file that has grown to its end."""
        with self.path(name).open("rb+") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def finish(self, keep: Sequence[str], more: Mapping[str, Any]) -> None:
        """Write ``settings.json``: from here on the results are whole.

        Args:
            keep: the growing files that are results, and get their names; the others are removed.
            more: what the settings tell beside parameters and progress.
        """
        for name in keep:
            self.path(name).replace(self.folder / name)
        write_json(self.folder / SETTINGS, {**self._about(), **more, **circumstances()})
        self._tidy()

    def _tidy(self) -> None:
        """Remove what whole results do not need any more."""
        for name in self.reached.sizes:
            self.path(name).unlink(missing_ok=True)
        (self.folder / _NOTE).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.complete and os.access(self.folder, os.W_OK):
            (self.folder / _LOCK).unlink(missing_ok=True)
        self._lock.close()

    def close(self) -> None:
        """Save how far the results are, and close the files: whoever reads them now finds them whole."""
        if not self._files:
            return
        try:
            self._save()
        finally:
            for file in self._files.values():
                file.close()
            self._files = {}

    def _save(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        write_json(self.folder / _NOTE, self._about())
        self._saved = time.monotonic()

    def _about(self) -> dict[str, Any]:
        about = {"made by": _MAKER, "format": FORMAT, "parameters": self._parameters}
        return {**about, "progress": self.reached._asdict()}


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
