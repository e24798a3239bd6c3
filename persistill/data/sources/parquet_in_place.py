"""Data sets in Parquet files that are read where they lie, without a copy, a row group at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from persistill.data.sources.base import Blocks, ImageRows, IntArray, Source
from persistill.data.sources.class_column import number_classes
from persistill.data.sources.parquet import by_part, filled_shards, image_column, label_column, open_value
from persistill.data.sources.row_groups import RowGroups
from persistill.data.sources.shard_file import ShardFile, threads_for
from persistill.utils.threads import in_threads
from persistill.utils.units import counted, file_size


class ShardTable(NamedTuple):
    """One part of a data set.

    Attributes:
        features: its columns, as ``datasets`` knows them.
        files: Parquet files of these columns.
    """

    features: Mapping[str, Any]
    files: Sequence[ShardFile]

    def values(self, column: str) -> list[Any]:
        """What a column that is no image holds, row after row."""

        def read(number: int) -> list[Any]:
            with self.files[number].parquet() as opened:
                found: list[Any] = opened.read(columns=[column], use_threads=False)[column].to_pylist()
            return found

        return [
            value for of_file in in_threads(read, len(self.files), threads=threads_for(self.files)) for value in of_file
        ]


class ShardColumn:
    """The images in a column of one part, of which few are in memory.

    Args:
        table: the part.
        groups: its row groups.
        column: the image column.

    Attributes:
        headers: what is known of images without reading them.
    """

    def __init__(self, table: ShardTable, groups: RowGroups, column: str) -> None:
        self._folder = table.files[0].beside
        self._names = [file.inside.as_posix() for file in table.files]
        self._groups = groups
        self._column = column
        self.headers = groups.headers[column]

    def __len__(self) -> int:
        return len(self._groups)

    def open(self, row: int) -> Image.Image:
        """Open an image, from its bytes, or from the file that its path names."""
        return open_value(self._groups.value(row, self._column), self._column, (self._folder,) if self._folder else ())

    def name(self, row: int) -> str:
        """File, and row in it."""
        number, inside = self._groups.place(row)
        return f"{self._names[number]}[{inside}]"

    def length(self, row: int) -> int:
        """Bytes of the encoded image; 0 where the table holds a path only."""
        return self._groups.length(row, self._column)

    def blocks(self, rows: IntArray) -> Blocks:
        """The row groups of some rows."""
        return self._groups.blocks(rows)

    def expect(self, rows: IntArray) -> None:
        """Fetch what is needed next."""
        self._groups.expect(rows)


class ShardRows(ShardColumn):
    """The images of one part, with their classes.

    Args:
        table: the part.
        groups: its row groups.
        column: the image column.
        targets: (N,) class numbers.
    """

    def __init__(self, table: ShardTable, groups: RowGroups, column: str, targets: IntArray) -> None:
        super().__init__(table, groups, column)
        self.targets = targets


def open_in_place(where: str, files: Sequence[ShardFile]) -> dict[str, ShardTable]:
    """The parts of a folder of Parquet files, by their names; training is among them.

    Raises:
        UserError: if a file is damaged, files disagree, or none is for training.
    """
    shards, features = filled_shards(where, files)
    return by_part({part: ShardTable(features, of_part) for part, of_part in shards.items()}, where)


def read_parquet_in_place(where: str, files: Sequence[ShardFile], label: str | None) -> Source:
    """Read what ``read_parquet`` reads, where it lies.

    Args:
        where: what to call the data set.
        files: its files, at least one.
        label: the class column; None if there is only one that can be it.

    Raises:
        UserError: if a file is damaged, files disagree, or no column holds images or classes.
    """
    parts = open_in_place(where, files)
    features = parts["train"].features
    images, column = image_column(features, where), label_column(features, label, where)
    values = {part: table.values(column) for part, table in parts.items()}
    numbered = number_classes(values, getattr(features[column], "names", None), column, where)
    groups = {part: RowGroups(parts[part].files, [images]) for part in numbered.targets}
    rows: dict[str, ImageRows] = {
        part: ShardRows(parts[part], groups[part], images, targets) for part, targets in numbered.targets.items()
    }
    origins = {part: f"the split {part} of {where}" for part in rows}
    return Source(numbered.classes, rows, origins, (*numbered.notes, told_of(groups["train"], where)))


def told_of(groups: RowGroups, where: str) -> str:
    """What a user should know of the order in which row groups are read."""
    return (
        f"{where} is read in place, in row groups of up to {file_size(groups.largest)} of encoded images. Where its "
        f"images do not fit into memory decoded, {counted(groups.window, 'row group')} at a time are in memory and "
        "shuffled together; other orders would read far more than once."
    )
