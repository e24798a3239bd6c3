"""The files that a data set is packed into, here or behind a URL, as their readers see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import pyarrow.parquet as pq

CONNECTIONS = 32
"""How much is asked for at the same time behind URLs: answers take long, and little is done meanwhile."""


class ShardFile(Protocol):
    """A tar or Parquet file. As a string it is what messages call it."""

    @property
    def inside(self) -> PurePosixPath:
        """Its path inside of the data set."""

    @property
    def beside(self) -> Path | None:
        """The folder of the data set, in which files may lie that its rows name; None if it has none here."""

    @property
    def version(self) -> str | None:
        """What changes with its content, under which to keep what was learned of it; None if nothing is known to."""

    def size(self) -> int:
        """Its bytes."""

    def open(self) -> BinaryIO:
        """Open it, to be read and searched."""

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes; fewer where it ends.

        Raises:
            OSError: if it cannot be read.
            UserError: if it lies behind a URL and cannot be reached, or was changed.
        """

    def parquet(self) -> pq.ParquetFile:
        """Open it as Parquet.

        Raises:
            OSError, ValueError, pyarrow.ArrowException: if it is none.
            UserError: as of ``read``.
        """


@dataclass(frozen=True)
class LocalShard:
    """A file of this machine.

    Attributes:
        path: where it lies.
        beside: the folder of the data set.
    """

    path: Path
    beside: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def inside(self) -> PurePosixPath:
        """Its path below the folder."""
        return PurePosixPath(self.path.relative_to(self.beside).as_posix())

    @property
    def version(self) -> str:
        """Its bytes and the time of its last change."""
        found = self.path.stat()
        return f"{found.st_size} {found.st_mtime_ns}"

    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        """Open it."""
        return self.path.open("rb")

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes."""
        with self.path.open("rb") as opened:
            opened.seek(offset)
            return opened.read(size)

    def parquet(self) -> pq.ParquetFile:
        """Open it as Parquet, mapped into memory."""
        return pq.ParquetFile(self.path, memory_map=True, pre_buffer=False)


def local_shards(folder: Path, files: Sequence[Path]) -> list[LocalShard]:
    """Files of a folder."""
    return [LocalShard(file, folder) for file in files]


def threads_for(files: Sequence[ShardFile]) -> int | None:
    """In how many threads to read files: many where they are far away, and None, as elsewhere, where they are not."""
    return CONNECTIONS if any(file.beside is None for file in files) else None
