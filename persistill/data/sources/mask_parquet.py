"""Data sets as tables with a column of images and a column of masks: folders of Parquet files, and names on the hub."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from persistill.data.sources.base import Blocks, EncodedColumn, IntArray, MaskRows, MaskSource
from persistill.data.sources.parquet import (
    TableColumn,
    by_part,
    cache_folders,
    download_tables,
    image_columns,
    open_tables,
    read_schema,
)
from persistill.data.sources.parquet_in_place import ShardColumn, ShardTable, open_in_place, told_of
from persistill.data.sources.row_groups import RowGroups
from persistill.data.sources.shard_file import LocalShard, ShardFile
from persistill.errors import UserError, unknown

_MASK_NAMES = ("mask", "label", "annotation", "segmentation")
"""What the name of a column of masks holds, by which it is told from the column of images."""


class MaskTableRows:
    """The images and masks of one part of a table."""

    def __init__(self, images: EncodedColumn, masks: EncodedColumn) -> None:
        self._images = images
        self._masks = masks

    def __len__(self) -> int:
        return len(self._images)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return self._images.open(row)

    def open_mask(self, row: int) -> Image.Image:
        """Open the mask of an image."""
        return self._masks.open(row)

    def name(self, row: int) -> str:
        """Row, part and, where it is kept, the file name of the image."""
        return self._images.name(row)

    def length(self, row: int) -> int:
        """Bytes of the encoded image and mask."""
        return self._images.length(row) + self._masks.length(row)


class MaskShardRows(MaskTableRows):
    """The images and masks of one part of a table that is read in place.

    Args:
        images: the column of images.
        masks: the column of masks.
        groups: their row groups.

    Attributes:
        headers: what is known of images without reading them.
        mask_headers: likewise of masks.
    """

    def __init__(self, images: ShardColumn, masks: ShardColumn, groups: RowGroups) -> None:
        super().__init__(images, masks)
        self._groups = groups
        self.headers, self.mask_headers = images.headers, masks.headers

    def blocks(self, rows: IntArray) -> Blocks:
        """The row groups of some rows."""
        return self._groups.blocks(rows)

    def expect(self, rows: IntArray) -> None:
        """Fetch what is needed next."""
        self._groups.expect(rows)


def read_mask_parquet(folder: Path, files: Sequence[Path], label: str | None) -> MaskSource:
    """Read a folder of Parquet files in the Hugging Face image layout with two columns, of images and of masks.

    Files belong to parts as those with classes do. Names of classes are a JSON list under "classes" in the metadata of
    the first file's schema; where there is none, the classes are numbered.

    Args:
        folder: what to call the data set.
        files: its files, at least one.
        label: the column of masks; None if its name says so.

    Raises:
        UserError: if a file is damaged, files disagree, or there are no two such columns.
    """
    return _from_tables(
        open_tables(folder, files), label, str(folder), _class_names(LocalShard(files[0], folder)), (folder,)
    )


def read_masks_in_place(where: str, files: Sequence[ShardFile], label: str | None) -> MaskSource:
    """Read what ``read_mask_parquet`` reads, where it lies, a row group at a time.

    Args:
        where: what to call the data set.
        files: its files, at least one.
        label: the column of masks; None if its name says so.

    Raises:
        UserError: as of ``read_mask_parquet``, and if a file is far away and cannot be reached.
    """
    return _from_shards(open_in_place(where, files), label, where, _class_names(files[0]))


def _class_names(file: ShardFile) -> tuple[str, ...] | None:
    """The names of classes in the metadata of a file's schema, if they are there.

    Raises:
        UserError: if they are none.
    """
    metadata = read_schema(file)[0].metadata or {}
    try:
        names = json.loads(metadata.get(b"classes", b"null"))
    except ValueError:
        names = ""
    if names is not None and not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise UserError(f'"classes" in the schema of {file} must be a JSON list of names.')
    if names is not None and len(set(names)) < len(names):
        raise UserError(f'"classes" in the schema of {file} names a class twice: {", ".join(names)}.')
    return None if names is None else tuple(names)


def read_mask_hub(name: str, label: str | None) -> MaskSource:
    """Download a data set with masks of the Hugging Face hub, or take it from the local cache. Classes are numbered.

    Args:
        name: as on the hub, "owner/name".
        label: the column of masks; None if its name says so.

    Raises:
        UserError: if the hub has no such data set, cannot be reached, or the columns do not suit.
    """
    return _from_tables(download_tables(name, ()), label, name, None, cache_folders())


def _from_tables(
    tables: Mapping[str, Any],
    label: str | None,
    where: str,
    classes: tuple[str, ...] | None,
    roots: Sequence[Path],
) -> MaskSource:
    parts = by_part(tables, where)
    image, mask = _columns(image_columns(parts["train"].features), label, where)
    return MaskSource(
        classes,
        {
            part: MaskTableRows(TableColumn(table, image, part, roots), TableColumn(table, mask, part, roots))
            for part, table in parts.items()
        },
        {part: f"the split {part} of {where}" for part in parts},
    )


def _from_shards(
    parts: Mapping[str, ShardTable], label: str | None, where: str, classes: tuple[str, ...] | None
) -> MaskSource:
    image, mask = _columns(image_columns(parts["train"].features), label, where)
    groups = {part: RowGroups(table.files, [image, mask]) for part, table in parts.items()}
    rows: dict[str, MaskRows] = {
        part: MaskShardRows(
            ShardColumn(table, groups[part], image), ShardColumn(table, groups[part], mask), groups[part]
        )
        for part, table in parts.items()
    }
    origins = {part: f"the split {part} of {where}" for part in parts}
    return MaskSource(classes, rows, origins, (told_of(groups["train"], where),))


def _columns(found: Sequence[str], label: str | None, where: str) -> tuple[str, str]:
    if label is not None and label not in found:
        raise unknown("column of masks (data.label)", label, found, f"These are the columns of images in {where}.")
    masks = [label] if label else [name for name in found if any(part in name.lower() for part in _MASK_NAMES)]
    images = [name for name in found if name not in masks]
    if len(masks) != 1 or len(images) != 1:
        raise UserError(
            f"{where} must have one column of images and one of masks (structs of bytes and path); it has "
            f"{', '.join(found) or 'none'}. data.label says which holds the masks."
        )
    return images[0], masks[0]
