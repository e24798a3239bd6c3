"""A file behind a URL, of which ranges are read."""

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, BinaryIO, cast

import pyarrow.parquet as pq

from persistill.data.sources.shard_file import CONNECTIONS
from persistill.errors import UserError
from persistill.utils.ranged_file import RangedFile
from persistill.utils.remote_filesystem import asked_again, files_below, is_forbidden, open_filesystem
from persistill.utils.threads import in_threads

BLOCK = 2**20
"""Bytes that are read at once where something is searched: small gaps are read over, and large ones left out."""
LOOK_AGAIN = 30.0
"""Seconds after which a file from which small ranges are read is looked at again, whether it is still the same."""

_MARKS = ("ETag", "etag", "generation", "VersionId", "md5Hash", "md5", "checksum", "blob_id", "xet_hash")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created")


class RemoteShard:
    """A file behind a URL, held to the version that was found there first.

    A file that was replaced is noticed after every read of a megabyte or more, and otherwise within ``LOOK_AGAIN``
    seconds of use: stores replace files whole, so that what was read before a look that finds the same version is of
    that version.

    Args:
        filesystem: of fsspec.
        path: what it is called there.
        url: what messages call it.
        inside: its path inside of the data set.
        information: what the file system tells of it; None to ask.
        fixed: whether the path names one version for ever.

    Attributes:
        url: what messages call it.
        inside: its path inside of the data set.
        beside: None: rows may not name files behind URLs.
        version: changes with its content; None where the server tells nothing that would.
    """

    beside: Path | None = None

    def __init__(
        self,
        filesystem: Any,
        path: str,
        url: str,
        inside: PurePosixPath,
        information: Mapping[str, Any] | None = None,
        *,
        fixed: bool = False,
    ) -> None:
        self._filesystem, self._path, self._fixed = filesystem, path, fixed
        self.url = url
        self.inside = inside
        if information is None or information.get("size") is None:
            information = asked_again(lambda: filesystem.info(path), self.url)
        if information.get("size") is None:
            raise UserError(
                f"{self.url} is answered without its length, so that no part of it can be asked for. Put it on a "
                "server that answers range requests, or download it."
            )
        self._size = int(information["size"])
        self.version = _version(information)
        self._looked = time.monotonic()
        self._metadata: pq.FileMetaData | None = None
        self._lock = Lock()

    def __str__(self) -> str:
        return self.url

    def size(self) -> int:
        """Its bytes."""
        return self._size

    def open(self) -> BinaryIO:
        """Open it to be searched, in blocks of ``BLOCK`` bytes."""
        return cast("BinaryIO", io.BufferedReader(RangedFile(self._size, self.read), BLOCK))

    def read(self, offset: int, size: int) -> bytes:
        """Some of its bytes.

        Raises:
            UserError: if it cannot be reached or may not be read, or is another file than in the beginning.
        """
        end = min(offset + size, self._size)
        if end <= offset:
            return b""
        options = {"cache_type": "none"} if self._is_hub else {}
        data: bytes = asked_again(
            lambda: self._whole(self._filesystem.cat_file(self._path, start=offset, end=end, **options), end - offset),
            self.url,
        )
        if not self._fixed and (len(data) >= BLOCK or time.monotonic() - self._looked > LOOK_AGAIN):
            self._require_unchanged()
        return data

    def parquet(self) -> pq.ParquetFile:
        """Open it as Parquet; its footer is read once."""
        ranges = RangedFile(self._size, self.read)
        source = io.BufferedReader(ranges, 2**16) if self._metadata is None else ranges
        opened = pq.ParquetFile(source, metadata=self._metadata, pre_buffer=False)
        with self._lock:
            self._metadata = opened.metadata
        return opened

    @property
    def _is_hub(self) -> bool:
        return "hf" in self._filesystem.protocol

    def _whole(self, data: bytes, size: int) -> bytes:
        """See that an answer is what was asked for.

        Raises:
            OSError: if it is too short, which may pass.
            UserError: if it is too long, or too short since there is another file.
        """
        if len(data) > size:
            raise UserError(
                f"the server of {self.url} sends {len(data):,} bytes where {size:,} were asked for: it answers no "
                "range requests. Put the file on one that does, or download it."
            )
        if len(data) < size:
            self._require_unchanged()
            raise OSError(f"{len(data):,} of {size:,} bytes came")
        return data

    def _require_unchanged(self) -> None:
        """See that there still is the file that was there in the beginning.

        Raises:
            UserError: if there is not.
        """
        now = asked_again(lambda: self._filesystem.info(self._path), self.url)
        if now.get("size") != self._size or _version(now) != self.version:
            raise UserError(
                f"{self.url} was changed while it was read. What is finished is kept; run the command again, which "
                "reads the new one from the beginning."
            )
        self._looked = time.monotonic()


def remote_folder(url: str, endings: Sequence[str], field: str, *, fixed: bool = False) -> dict[str, list[RemoteShard]]:
    """The files in a folder behind a URL and up to two folders below it, by their endings, sorted.

    Hidden files and folders are passed over.

    Args:
        url: of the folder.
        endings: of names, in lower case, with their dots.
        field: what names it, for messages.
        fixed: as of ``RemoteShard``.

    Raises:
        UserError: if it cannot be listed.
    """
    filesystem, path = open_filesystem(url, field)
    root = path.rstrip("/")
    found = asked_again(lambda: files_below(filesystem, root, 3), url)
    named: dict[str, list[tuple[str, PurePosixPath, Mapping[str, Any]]]] = {ending: [] for ending in endings}
    for name, information in sorted(found.items()):
        inside = PurePosixPath(name.removeprefix(root).lstrip("/"))
        ending = inside.suffix.lower()
        if ending in named and not any(part.startswith(".") for part in inside.parts):
            named[ending].append((name, inside, information))

    def shard(position: int, files: Sequence[tuple[str, PurePosixPath, Mapping[str, Any]]]) -> RemoteShard:
        name, inside, information = files[position]
        return RemoteShard(filesystem, name, f"{url.rstrip('/')}/{inside}", inside, information, fixed=fixed)

    return {
        ending: in_threads(lambda position, files=files: shard(position, files), len(files), threads=CONNECTIONS)  # type: ignore[misc]
        for ending, files in named.items()
    }


def remote_files(urls: Sequence[str], field: str, *, fixed: bool = False) -> list[RemoteShard]:
    """Files behind URLs of one server.

    Args:
        urls: at least one; names are told from the folder that holds them all.
        field: what names them, for messages.
        fixed: as of ``RemoteShard``.

    Raises:
        UserError: if one cannot be reached or is not there.
    """
    places = [open_filesystem(url, field) for url in urls]
    paths = [PurePosixPath(path) for _, path in places]
    common = paths[0].parent
    while not all(path.is_relative_to(common) for path in paths):
        common = common.parent

    def shard(position: int) -> RemoteShard:
        filesystem, path = places[position]
        return RemoteShard(filesystem, path, urls[position], paths[position].relative_to(common), fixed=fixed)

    return in_threads(shard, len(urls), threads=CONNECTIONS)


def read_small(url: str, field: str) -> bytes | None:
    """What a small file behind a URL holds; None if there is none.

    One that may not be read counts as none: stores say so of what is not there, where a folder may not be listed.

    Raises:
        UserError: if it cannot be reached.
    """
    filesystem, path = open_filesystem(url, field)

    def read() -> bytes | None:
        try:
            data: bytes = filesystem.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            if is_forbidden(error):
                return None
            raise
        return data

    return asked_again(read, url)


def _version(information: Mapping[str, Any]) -> str | None:
    """What a file system tells of a file that changes with its content."""
    marks = [f"{name}={information[name]}" for name in _MARKS if information.get(name)]
    times = [f"{name}={information[name]}" for name in _TIMES if information.get(name)]
    found = marks or times
    return f"{information['size']} {' '.join(found)}" if found else None
