"""Headers of images that were read once, so that images far away need not be fetched again only to be looked at."""

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import platformdirs
from PIL import Image

from persistill.data.sources.base import IntArray
from persistill.data.sources.shard_file import ShardFile
from persistill.utils.atomic_io import atomic
from persistill.utils.image_reader import Header, read_header
from persistill.utils.preprocessing import DEFAULT, require_range

LARGE = 2**30
"""Bytes of Parquet files from which on what was learned of the images in them is kept."""

_GRAY, _DEEP = 1, 2
_FORMAT = 1


class KnownHeaders:
    """What is known of the images of a part without opening them, and their encoded lengths.

    Args:
        count: N.
        kept: a file in which it is kept from run to run; None if it is not.

    Attributes:
        lengths: (N,) bytes of the encoded images; -1 where they are not known.
    """

    def __init__(self, count: int, kept: Path | None = None) -> None:
        self._kept = kept
        self._found = np.zeros((3, count), dtype=np.int32)  # height, width, flags; 0 where it is not known
        self.lengths: IntArray = np.full(count, -1, dtype=np.int64)
        if kept is not None:
            self._load(kept)
        self._known = self._count()

    def get(self, row: int) -> Header | None:
        """Of an image that was looked at, and whose values have a known range."""
        height, width, flags = self._found[:, row].tolist()
        return Header(height, width, bool(flags & _GRAY), bool(flags & _DEEP)) if height else None

    def remember(self, row: int, header: Header) -> None:
        """Take the header of an image."""
        self._found[:, row] = header.height, header.width, _GRAY * header.gray + _DEEP * header.deep

    def keep(self) -> None:
        """Write what was learned, where it is kept."""
        if self._kept is None or self._count() == self._known:
            return
        with contextlib.suppress(OSError):  # where no cache can be written, images are fetched the next time
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic(self._kept) as temporary, temporary.open("wb") as out:
                np.savez(out, found=self._found, lengths=self.lengths)
        self._known = self._count()

    def _count(self) -> tuple[int, int]:
        return int(np.count_nonzero(self._found[0])), int(np.count_nonzero(self.lengths >= 0))

    def _load(self, kept: Path) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            with np.load(kept, allow_pickle=False) as arrays:
                found, lengths = arrays["found"], arrays["lengths"]
            fits = found.shape == self._found.shape and lengths.shape == self.lengths.shape
            if fits and found.dtype == np.int32 and lengths.dtype == np.int64 and found.min(initial=0) >= 0:
                self._found, self.lengths = found, lengths


@runtime_checkable
class KnowsHeaders(Protocol):
    """Encoded images of which something is known without opening them."""

    @property
    def headers(self) -> KnownHeaders | None:
        """What is known."""


@runtime_checkable
class KnowsMaskHeaders(Protocol):
    """Encoded masks of which something is known without opening them."""

    @property
    def mask_headers(self) -> KnownHeaders:
        """What is known."""


def known_of(rows: object) -> KnownHeaders | None:
    """What is known of encoded images; None where every look needs an open image."""
    return rows.headers if isinstance(rows, KnowsHeaders) else None


def keep_headers(parts: Mapping[str, object]) -> None:
    """Write what was learned of the images of some parts."""
    for rows in parts.values():
        if (known := known_of(rows)) is not None:
            known.keep()


def header_of(
    known: KnownHeaders | None, row: int, open_row: Callable[[int], Image.Image], *, range_known: bool
) -> Header:
    """The header of an image whose values have a known range, remembered where it may be.

    Args:
        known: of the images.
        row: which of them.
        open_row: opens one.
        range_known: whether values of every kind have a known range, since the settings state it.

    Raises:
        ValueError: if they have none, or it is no image.
        OSError: if it cannot be read.
    """
    if known is not None and (header := known.get(row)) is not None:
        return header
    with open_row(row) as image:
        header = read_header(image)
        if not range_known:
            require_range(image, DEFAULT)
        if known is not None:
            with contextlib.suppress(ValueError):
                require_range(image, DEFAULT)
                known.remember(row, header)
    return header


def kept_headers(files: Sequence[ShardFile], column: str, count: int) -> KnownHeaders:
    """What is known of the images in a column of Parquet files.

    It is kept for other processes and the next run where all files are far away, or so large that reading them through
    takes long.

    Args:
        files: at least one.
        column: its name.
        count: of rows.
    """
    versions = [file.version for file in files]
    far = all(file.beside is None for file in files)
    if None in versions or not (far or sum(file.size() for file in files) >= LARGE):
        return KnownHeaders(count)
    about = repr((_FORMAT, column, [(str(file), version) for file, version in zip(files, versions, strict=True)]))
    key = hashlib.sha256(about.encode()).hexdigest()[:32]
    return KnownHeaders(count, Path(platformdirs.user_cache_dir("persistill")) / "image_headers" / f"{key}.npz")
