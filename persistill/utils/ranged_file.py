"""A file of which ranges are fetched, as a file of Python's."""

import io
from collections.abc import Callable
from typing import Any


class RangedFile(io.RawIOBase):
    """A file of known size that is read and searched: every read fetches one range, and nothing else is read.

    Args:
        size: of the file, in bytes.
        fetch: offset and length, both inside the file -> the bytes there; fewer where it ends too early.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch, self._place = size, fetch, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Where the next read shall begin."""
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, as far as the file goes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """Some bytes, or all that are left."""
        left = max(0, self._size - self._place)
        data = self._fetch(self._place, min(size, left) if size >= 0 else left)
        self._place += len(data)
        return data
