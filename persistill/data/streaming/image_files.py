"""Image files, read a few at a time."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from persistill.data.streaming.encoded import Encoded, EncodedStream, encoded_file


class FileStream(EncodedStream):
    """Image files.

    Args:
        root: the folder that names are told from.
        names: their paths below it, with / on every system; only these stay in memory.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def name(self, position: int) -> str:
        """The file's path inside the folder."""
        return self._names[position]

    def encoded(self, positions: Iterable[int]) -> Iterator[Encoded]:
        """Files that are opened by whoever decodes them."""
        for position in positions:
            path = self._root / self._names[position]
            yield encoded_file(path)

    def part(self, positions: range) -> "FileStream":
        """Some of the files."""
        return FileStream(self._root, self._names[positions.start : positions.stop])

    def close(self) -> None:
        """Nothing stays open."""
