"""Row groups of Parquet files, read where they lie; a few of them are in memory at a time."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from persistill.data.sources.base import Blocks, IntArray
from persistill.errors import UserError

BUFFER = 256 * 1024**2
"""Bytes of encoded images that are kept in memory, or three row groups if these are larger. The order of training
follows from it, so that another number gives other trainings."""


class RowGroups:
    """Columns of encoded images in several Parquet files, row after row, read a row group at a time.

    Args:
        files: of equal columns, at least one.
        columns: structs of bytes and path.

    Attributes:
        window: among how many row groups images are shuffled.
        largest: bytes of the largest row group, as far as these columns go.
    """

    def __init__(self, files: Sequence[Path], columns: Sequence[str]) -> None:
        self._files = files
        self._columns = list(columns)
        self._groups: list[tuple[int, int]] = []
        self._starts = [0]
        bounds, sizes = [0], [0]
        for number, file in enumerate(files):
            metadata = pq.read_metadata(file)
            for group in range(metadata.num_row_groups):
                about = metadata.row_group(group)
                self._groups.append((number, group))
                bounds.append(bounds[-1] + about.num_rows)
                sizes.append(_size(about, columns))
            self._starts.append(bounds[-1])
        self._bounds = np.array(bounds, dtype=np.int64)
        self.largest = max(sizes)
        # A few more are kept than are shuffled: rows of a batch lie on both sides of where one goes and the next comes.
        self.window = max(1, (BUFFER // max(1, self.largest) - 2) * 8 // 9)
        self._capacity = self.window + self.window // 8 + 2
        self._held: OrderedDict[int, pa.Table] = OrderedDict()
        self._lengths = {column: np.full(len(self), -1, dtype=np.int64) for column in columns}
        self._lock = Lock()

    def __len__(self) -> int:
        """Rows in all files."""
        return int(self._bounds[-1])

    def value(self, row: int, column: str) -> Any:
        """What a column holds in a row: bytes and path, or None.

        Raises:
            UserError: if the file is damaged or was changed.
        """
        group = self._group_of(row)
        return self._table(group)[column][row - int(self._bounds[group])].as_py()

    def length(self, row: int, column: str) -> int:
        """Bytes of an encoded image; 0 where the table holds a path only. Known without reading once it was read.

        Raises:
            UserError: if the file is damaged or was changed.
        """
        if self._lengths[column][row] < 0:
            self._table(self._group_of(row))
        return int(self._lengths[column][row])

    def place(self, row: int) -> tuple[int, int]:
        """Of a row, the position of its file, and its number there."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return number, row - self._starts[number]

    def blocks(self, rows: IntArray) -> Blocks:
        """Which rows are read together."""
        return Blocks(np.searchsorted(self._bounds, rows, side="right").astype(np.int64) - 1, self.window)

    def _group_of(self, row: int) -> int:
        return int(np.searchsorted(self._bounds, row, side="right")) - 1

    def _table(self, group: int) -> pa.Table:
        # One is read at a time: two threads that want one row group must not both read it, nor ten threads ten.
        with self._lock:
            if group in self._held:
                self._held.move_to_end(group)
                return self._held[group]
            while len(self._held) >= self._capacity:
                self._held.popitem(last=False)
            found = self._held[group] = self._read(group)
            return found

    def _read(self, group: int) -> pa.Table:
        number, inside = self._groups[group]
        low, high = int(self._bounds[group]), int(self._bounds[group + 1])
        file = self._files[number]
        try:
            with pq.ParquetFile(file, memory_map=True, pre_buffer=False) as opened:
                table = opened.read_row_group(inside, columns=self._columns, use_threads=False)
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} cannot be read as Parquet ({error}); it may be cut short.") from error
        if table.num_rows != high - low:
            raise UserError(f"{file} was changed while it was read. Run the command again.")
        for column, lengths in self._lengths.items():
            lengths[low:high] = _lengths(table[column])
        return table


def _size(group: Any, columns: Sequence[str]) -> int:
    """Bytes of some columns of a row group, before compression."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


def _lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    lengths = pc.binary_length(pc.struct_field(column, "bytes"))
    found: npt.NDArray[np.int64] = pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
    return found
