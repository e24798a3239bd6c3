"""Images without classes, of any number and any sizes, read a few at a time: from folders and Parquet files."""

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from persistill.data.sources.parquet import file_of_row
from persistill.data.sources.shards import shard_files
from persistill.data.streaming.arrays import ARRAY_SUFFIXES, open_array_stream
from persistill.data.streaming.base import ImageStream, Pixels, Survey, Unreadable
from persistill.errors import UserError, unknown
from persistill.utils.image_files import image_names
from persistill.utils.image_reader import SUFFIXES, Header, open_image, read_header
from persistill.utils.preprocessing import DEFAULT, read_pixels, require_range
from persistill.utils.progress import Progress

_TASK = 16  # images that a thread takes at once
_AHEAD = 2  # tasks a thread that may wait, with the bytes of their images
_BATCH = 32  # rows of a Parquet file in memory

Result = TypeVar("Result")


class _Encoded(NamedTuple):
    """An image before it is decoded: how to open it, and its bytes."""

    open: Callable[[], Image.Image]
    length: Callable[[], int]


def open_stream(source: Path, field: str | None = None) -> ImageStream:
    """Open a source of images.

    Args:
        source: a folder of images, searched at any depth and sorted by name; an image; a Parquet file or a folder
            of them (in it or just below) in the Hugging Face image layout; an .npy or .npz file.
        field: the Parquet column or the .npz array that holds images; None if only one can be it.

    Raises:
        UserError: if there is no such source, it holds no images, or it is damaged.
    """
    source = source.expanduser()
    suffix = source.suffix.lower()
    if source.is_dir():
        files = shard_files(source, ".parquet")
        if files:
            return _ParquetStream(source, files, field)
        names = image_names(source)
        if not names:
            raise UserError(
                f"{source} holds no images ({', '.join(sorted(SUFFIXES))}) and no Parquet files, at any depth."
            )
        stream: ImageStream = _FileStream(source, names)
    elif not source.exists():
        raise UserError(f"there is no file or folder {source}.")
    elif suffix == ".parquet":
        return _ParquetStream(source.parent, [source], field)
    elif suffix in ARRAY_SUFFIXES:
        return open_array_stream(source, field)
    elif suffix in SUFFIXES:
        stream = _FileStream(source.parent, [source.name])
    else:
        raise UserError(
            f"{source} is no source of images: give a folder, or a file ending in "
            f"{', '.join(sorted({'.parquet', *ARRAY_SUFFIXES, *SUFFIXES}))}."
        )
    if field is not None:
        raise UserError(f"--field {field} names a column or an array, and {source} has none. Leave it out.")
    return stream


class _EncodedStream(ABC):
    """What folders and Parquet files share."""

    dtype = np.dtype(np.uint8)

    @abstractmethod
    def __len__(self) -> int:
        pass

    @abstractmethod
    def name(self, position: int) -> str:
        """What to call an image."""

    @abstractmethod
    def encoded(self, positions: Iterable[int]) -> Iterator[_Encoded]:
        """The images at rising positions."""

    def survey(self, progress: Progress, *, grayscale: bool, threads: int) -> Survey:
        """Read the headers of all images."""
        sizes = np.zeros((len(self), 2), np.int32)
        marks = np.zeros(len(self), np.int64)
        gray = np.ones(len(self), bool)
        problems: dict[int, str] = {}
        progress.start("looking at images", len(self))
        done = 0
        for position, (length, header) in enumerate(self._each(_look, range(len(self)), threads)):
            marks[position] = length
            if isinstance(header, Unreadable):
                problems[position] = header.why
            else:
                sizes[position] = header.height, header.width
                gray[position] = header.gray
            if position + 1 - done >= _TASK * threads:
                progress.advance(position + 1 - done)
                done = position + 1
        progress.finish()
        color = not grayscale and not gray.all()
        return Survey(
            channels=3 if color else 1,
            sizes=sizes,
            marks=marks,
            gray=int(gray.sum()) - len(problems) if color else 0,
            problems=problems,
        )

    def read(self, positions: Sequence[int], channels: int, threads: int) -> list[Pixels | Unreadable]:
        """Decode images; see ``utils.preprocessing.read_pixels`` for how."""
        return list(self._each(partial(_decode, channels), positions, threads))

    def _each(self, function: Callable[[_Encoded], Result], positions: Iterable[int], threads: int) -> Iterator[Result]:
        """Call ``function`` in threads; only a few images at a time are in memory."""
        tasks: deque[Future[list[Result]]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="persistill-decode")
        try:
            for block in _blocks(self.encoded(positions)):
                tasks.append(pool.submit(_all, function, block))
                if len(tasks) >= _AHEAD * threads:
                    yield from tasks.popleft().result()
            while tasks:
                yield from tasks.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class _FileStream(_EncodedStream):
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

    def encoded(self, positions: Iterable[int]) -> Iterator[_Encoded]:
        """Files that are opened by whoever decodes them."""
        for position in positions:
            path = self._root / self._names[position]
            yield _file(path)

    def close(self) -> None:
        """Nothing stays open."""


class _ParquetStream(_EncodedStream):
    """The images in Parquet files, read row after row.

    Args:
        root: the folder that names are told from.
        files: at least one.
        column: the one with images; None if there is only one.

    Raises:
        UserError: if a file is damaged, has no such column, or there are no rows.
    """

    def __init__(self, root: Path, files: Sequence[Path], column: str | None) -> None:
        self._files = files
        self._names = [file.relative_to(root).as_posix() for file in files]
        counts = []
        for file in files:
            with _opened(file) as opened:
                self._column = column = _image_column(opened.schema_arrow, column, file)
                counts.append(opened.metadata.num_rows)
        self._starts = np.cumsum([0, *counts])
        self._reader: tuple[int, _Column] | None = None
        if not len(self):
            raise UserError(f"{files[0] if len(files) == 1 else root} holds no rows.")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def name(self, position: int) -> str:
        """File and row."""
        number = self._file_of(position)
        return f"{self._names[number]}[{position - self._starts[number]}]"

    def encoded(self, positions: Iterable[int]) -> Iterator[_Encoded]:
        """Bytes that were read by this thread, or files whose paths the table holds."""
        for position in positions:
            number = self._file_of(position)
            file = self._files[number]
            try:
                if self._reader is None or self._reader[0] != number:
                    self.close()
                    self._reader = number, _Column(file, self._column)
                value = self._reader[1].value(position - int(self._starts[number]))
            except (pa.ArrowException, OSError) as error:
                raise UserError(f"{file} cannot be read as Parquet ({error}); it may be cut short.") from error
            yield _encoded_value(value, file.parent)

    def close(self) -> None:
        """Close the file that was read last."""
        if self._reader is not None:
            self._reader[1].close()
            self._reader = None

    def _file_of(self, position: int) -> int:
        return int(np.searchsorted(self._starts, position, side="right")) - 1


class _Column:
    """A column of a Parquet file, read forwards a few rows at a time, from one call to the next."""

    def __init__(self, file: Path, column: str) -> None:
        self._file = _opened(file)
        self._column = column
        self._groups = self._file.metadata.num_row_groups
        sizes = (self._file.metadata.row_group(group).num_rows for group in range(self._groups))
        self._bounds = np.cumsum([0, *sizes])
        self._low = 0
        self._values: Any = None
        self._batches: Iterator[Any] = iter(())

    def value(self, row: int) -> Any:
        """The value at a row; row groups on the way to it are passed over, and those behind are opened again."""
        group = int(np.searchsorted(self._bounds, row, side="right")) - 1
        begun = int(self._bounds[group])
        if self._values is None or row < self._low or begun >= self._low + len(self._values) + _BATCH:
            self._low, self._values = begun, ()
            self._batches = self._file.iter_batches(
                _BATCH, row_groups=range(group, self._groups), columns=[self._column]
            )
        while row >= self._low + len(self._values):
            self._low, self._values = self._low + len(self._values), next(self._batches).column(0)
        return self._values[row - self._low].as_py()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({error}); it may be cut short.") from error


def _image_column(schema: pa.Schema, column: str | None, file: Path) -> str:
    found = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type) and {part.name for part in field.type} == {"bytes", "path"}
    ]
    if column is not None:
        if column not in found:
            raise unknown(f"image column in {file}", column, found, f"Its columns are: {', '.join(schema.names)}.")
        return column
    if len(found) != 1:
        what = (
            f"several columns of images, {', '.join(found)}. Say which: --field {found[0]}"
            if found
            else (f"no column of images (struct of bytes and path) among {', '.join(schema.names)}.")
        )
        raise UserError(f"{file} has {what}")
    return str(found[0])


def _encoded_value(value: Any, folder: Path) -> _Encoded:
    if value is not None and value["bytes"] is not None:
        data = value["bytes"]
        return _Encoded(partial(open_image, data), lambda: len(data))
    try:
        return _file(file_of_row(None if value is None else value["path"], (folder,)))
    except ValueError as error:
        return _Encoded(partial(_refused, str(error)), lambda: 0)


def _file(path: Path) -> _Encoded:
    return _Encoded(partial(open_image, path), lambda: path.stat().st_size)


def _refused(why: str) -> Image.Image:
    raise ValueError(why)


def _look(encoded: _Encoded) -> tuple[int, Header | Unreadable]:
    length = 0
    try:
        length = encoded.length()
        with encoded.open() as image:
            require_range(image, DEFAULT)
            return length, read_header(image)
    except Exception as error:  # noqa: BLE001  decoders raise whatever comes to hand on damaged files
        return length, _unreadable(error)


def _decode(channels: int, encoded: _Encoded) -> Pixels | Unreadable:
    try:
        with encoded.open() as image:
            header = read_header(image)
            return np.ascontiguousarray(read_pixels(image, (channels, header.height, header.width)))
    except Exception as error:  # noqa: BLE001
        return _unreadable(error)


def _unreadable(error: Exception) -> Unreadable:
    return Unreadable(" ".join(str(error).split()) or type(error).__name__)


def _all(function: Callable[[_Encoded], Result], block: Sequence[_Encoded]) -> list[Result]:
    return [function(encoded) for encoded in block]


def _blocks(encoded: Iterator[_Encoded]) -> Iterator[list[_Encoded]]:
    while block := list(itertools.islice(encoded, _TASK)):
        yield block
