"""The images in Parquet files, read row after row."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from persistill.data.sources.parquet import file_of_row
from persistill.data.streaming.encoded import Encoded, EncodedStream, encoded_file, refused
from persistill.errors import UserError, unknown
from persistill.utils.image_reader import open_image

_BATCH = 32  # rows of a Parquet file in memory


class ParquetStream(EncodedStream):
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

    def encoded(self, positions: Iterable[int]) -> Iterator[Encoded]:
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

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the files by itself."""
        return {**vars(self), "_reader": None}

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


def _encoded_value(value: Any, folder: Path) -> Encoded:
    if value is not None and value["bytes"] is not None:
        data = value["bytes"]
        return Encoded(partial(open_image, data), lambda: len(data))
    try:
        return encoded_file(file_of_row(None if value is None else value["path"], (folder,)))
    except ValueError as error:
        return refused(str(error))
