"""Files that results are appended to, chunk by chunk."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from persistill.extraction.result_folder import Reached

NOTHING: Mapping[str, int] = MappingProxyType({})
"""No numbers to tell."""


class GrowingFiles:
    """Files in a folder that grow chunk by chunk; until they are whole, their names end in ``.unfinished``.

    Attributes:
        folder: where.
        reached: how far they are.

    Args:
        folder: where; it exists when the first chunk is appended.
        files: their names.
    """

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self.folder = folder
        self.reached = Reached.nothing(files)
        self._files: dict[str, BinaryIO] = {}

    def path(self, name: str) -> Path:
        """Where a file lies as long as it grows."""
        return self.folder / f"{name}.unfinished"

    def append(self, name: str, data: "memoryview | bytes") -> None:
        """Let a file grow. What is not followed by ``advance`` will be cut off again."""
        if not self._files:
            self.open()
        self._files[name].write(data)

    def open(self) -> None:
        """Open the files as they were reached."""
        for file, size in self.reached.sizes.items():
            self.path(file).touch()
            self._files[file] = self.path(file).open("rb+")
            self._files[file].truncate(size)
            self._files[file].seek(size)

    def advance(
        self,
        position: int,
        rows: int,
        mark: str,
        skipped: Sequence[list[str]] = (),
        tally: Mapping[str, int] = NOTHING,
    ) -> None:
        """Count what was appended as the results of the images up to ``position``.

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

    def begin_with(self, name: str, data: bytes) -> None:
        """Write over the beginning of a file that has grown to its end."""
        with self.path(name).open("rb+") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the files: whoever reads them now finds them whole."""
        for file in self._files.values():
            file.close()
        self._files = {}
