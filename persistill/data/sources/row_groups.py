"""Row groups of Parquet files, read where they lie; a few of them are in memory at a time."""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from persistill.data.sources.base import Blocks, IntArray
from persistill.data.sources.known_headers import KnownHeaders, kept_headers
from persistill.data.sources.shard_file import ShardFile, threads_for
from persistill.errors import UserError
from persistill.utils.threads import in_threads

BUFFER = 256 * 1024**2
"""Bytes of encoded images that are kept in memory, or three row groups if these are larger. The order of training
follows from it, so that another number gives other trainings."""
AHEAD = 2
"""Row groups behind URLs that are fetched before they are needed, beside those that are kept."""


class RowGroups:
    """Columns of encoded images in several Parquet files, row after row, read a row group at a time.

    Args:
        files: of equal columns, at least one.
        columns: structs of bytes and path.

    Attributes:
        window: among how many row groups images are shuffled.
        largest: bytes of the largest row group, as far as these columns go.
        headers: column -> what is known of its images without reading them.
    """

    def __init__(self, files: Sequence[ShardFile], columns: Sequence[str]) -> None:
        self._files = files
        self._columns = list(columns)
        self._groups: list[tuple[int, int]] = []
        self._starts = [0]
        bounds, sizes = [0], [0]
        threads = threads_for(files)
        for number, metadata in enumerate(in_threads(lambda i: _metadata(files[i]), len(files), threads=threads)):
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
        self._ahead: list[Future[pa.Table]] = []
        self._pool: ThreadPoolExecutor | None = None
        if threads is not None:
            self._capacity += AHEAD
            self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="persistill-ahead")
        self._held: OrderedDict[int, Future[pa.Table]] = OrderedDict()
        self.headers: dict[str, KnownHeaders] = {column: kept_headers(files, column, len(self)) for column in columns}
        self._lock = Lock()
        # Of those that are near, one is read at a time: ten threads must not read ten.
        self._reading = BoundedSemaphore(1 if threads is None else AHEAD + 1)

    def __len__(self) -> int:
        """Rows in all files."""
        return int(self._bounds[-1])

    def value(self, row: int, column: str) -> Any:
        """What a column holds in a row: bytes and path, or None.

        Raises:
            UserError: if the file is damaged or was changed, or cannot be reached.
        """
        group = self._group_of(row)
        return self._table(group)[column][row - int(self._bounds[group])].as_py()

    def length(self, row: int, column: str) -> int:
        """Bytes of an encoded image; 0 where the table holds a path only. Known without reading once it was read.

        Raises:
            UserError: as of ``value``.
        """
        lengths = self.headers[column].lengths
        if lengths[row] < 0:
            self._table(self._group_of(row))
        return int(lengths[row])

    def place(self, row: int) -> tuple[int, int]:
        """Of a row, the position of its file, and its number there."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return number, row - self._starts[number]

    def blocks(self, rows: IntArray) -> Blocks:
        """Which rows are read together."""
        return Blocks(self._groups_of(rows), self.window)

    def expect(self, rows: IntArray) -> None:
        """Fetch the next row groups that are not there meanwhile, if they are far away.

        Args:
            rows: (n,) that are asked for now and next, in this order.
        """
        if self._pool is None:
            return
        self._ahead = [future for future in self._ahead if not future.done()]
        needed = dict.fromkeys(self._groups_of(rows).tolist())
        with self._lock:
            missing = [group for group in needed if group not in self._held]
            # Nothing is driven out that is needed before: it would have to be fetched again.
            done = [group for group in self._held if group not in needed]
            room = self._capacity - len(self._held) + len(done)
            chosen = missing[: max(0, min(AHEAD - len(self._ahead), room))]
            for group in done[: max(0, len(self._held) + len(chosen) - self._capacity)]:
                del self._held[group]
        for group in chosen:
            self._ahead.append(self._pool.submit(self._table, group))

    def _group_of(self, row: int) -> int:
        return int(np.searchsorted(self._bounds, row, side="right")) - 1

    def _groups_of(self, rows: IntArray) -> IntArray:
        return np.searchsorted(self._bounds, rows, side="right").astype(np.int64) - 1

    def _table(self, group: int) -> pa.Table:
        # Two threads that want one row group must not both read it, and those that want others need not wait.
        with self._lock:
            held = self._held.get(group)
            if held is None:
                while len(self._held) >= self._capacity:
                    self._held.popitem(last=False)
                wanted: Future[pa.Table] = Future()
                self._held[group] = wanted
            else:
                self._held.move_to_end(group)
        if held is not None:
            return held.result()
        try:
            with self._reading:
                table = self._read(group)
        except BaseException as error:
            with self._lock:
                if self._held.get(group) is wanted:
                    del self._held[group]
            wanted.set_exception(error)
            raise
        wanted.set_result(table)
        return table

    def _read(self, group: int) -> pa.Table:
        number, inside = self._groups[group]
        low, high = int(self._bounds[group]), int(self._bounds[group + 1])
        file = self._files[number]
        try:
            with file.parquet() as opened:
                table = opened.read_row_group(inside, columns=self._columns, use_threads=False)
        except pa.ArrowMemoryError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file} cannot be read as Parquet ({error}); it may be cut short.") from error
        if table.num_rows != high - low:
            raise UserError(f"{file} was changed while it was read. Run the command again.")
        for column, headers in self.headers.items():
            headers.lengths[low:high] = _lengths(table[column])
        return table


def _metadata(file: ShardFile) -> Any:
    with file.parquet() as opened:
        return opened.metadata


def _size(group: Any, columns: Sequence[str]) -> int:
    """Bytes of some columns of a row group, before compression."""
    chunks = (group.column(number) for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns)


def _lengths(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    lengths = pc.binary_length(pc.struct_field(column, "bytes"))
    found: npt.NDArray[np.int64] = pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
    return found
