"""Data sets as tables with columns of images and of objects: folders of Parquet files, and names on the hub."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from persistill.data.detection.box_source import BoxRows, BoxSource, RawObjects, raw_objects
from persistill.data.sources.base import Blocks, EncodedColumn, IntArray, in_blocks
from persistill.data.sources.known_headers import KnownHeaders, known_of
from persistill.data.sources.parquet import (
    TableColumn,
    by_part,
    cache_folders,
    download_tables,
    image_columns,
    open_tables,
    read_schema,
)
from persistill.data.sources.parquet_in_place import ShardColumn, open_in_place, told_of
from persistill.data.sources.row_groups import RowGroups
from persistill.data.sources.shard_file import LocalShard, ShardFile
from persistill.errors import UserError

BoxFormat = Literal["xyxy", "xywh"]
"""Two corners, or one corner, width and height; in pixels of the stored image."""

_OBJECTS = ("objects", "annotations")
_CLASS = ("category", "categories", "label", "labels", "category_id", "class_id")
_NAMES = (b"classes", b"class_names")


class BoxTableRows:
    """The images and boxes of one part of a table.

    Args:
        images: the column of images.
        objects: of each image, lists by field.
        category: the field of the classes.
        box_format: what four numbers say.
    """

    def __init__(
        self, images: EncodedColumn, objects: Sequence[Mapping[str, Any]], category: str, box_format: BoxFormat
    ) -> None:
        self._images, self._objects, self._category, self._format = images, objects, category, box_format

    def __len__(self) -> int:
        return len(self._images)

    def open(self, row: int) -> Image.Image:
        """Open an image."""
        return self._images.open(row)

    def objects(self, row: int, size: tuple[int, int]) -> RawObjects:  # noqa: ARG002 - of other formats
        """The boxes of an image."""
        found = self._objects[row]
        boxes = np.array(found["bbox"], dtype=np.float64).reshape(-1, 4)
        if self._format == "xywh":
            boxes = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        crowd = found.get("iscrowd", found.get("is_crowd"))
        return raw_objects(boxes, found[self._category], found.get("difficult"), crowd)

    @property
    def headers(self) -> KnownHeaders | None:
        """What is known of images without reading them."""
        return known_of(self._images)

    def blocks(self, rows: IntArray) -> Blocks | None:
        """The row groups of some rows, where the table is read in place."""
        images = in_blocks(self._images)
        return None if images is None else images.blocks(rows)

    def expect(self, rows: IntArray) -> None:
        """Fetch what is needed next."""
        if (images := in_blocks(self._images)) is not None:
            images.expect(rows)

    def name(self, row: int) -> str:
        """Row, part and, where it is kept, the file name of the image."""
        return self._images.name(row)

    def length(self, row: int) -> int:
        """Bytes of the encoded image."""
        return self._images.length(row)


def read_box_parquet(folder: Path, files: Sequence[Path], box_format: BoxFormat | None = None) -> BoxSource:
    """Read a folder of Parquet files in the Hugging Face layout: images, and a struct ``objects`` of lists.

    ``objects`` holds ``bbox`` (four numbers each), ``category`` and, if the source has them, ``difficult`` and
    ``iscrowd``. Names of classes are those of the column's ``ClassLabel``, or a JSON list under "classes" in the
    metadata of the schema; without either they are numbered.

    Args:
        folder: what to call the data set.
        files: its files, at least one.
        box_format: what the four numbers are; None to take what "bbox_format" in the metadata of the schema says, or
            else what alone makes sense of all boxes.

    Raises:
        UserError: if a file is damaged, files disagree, there are no such columns, or nothing tells what the numbers
            are.
    """
    stated, known = _stated(LocalShard(files[0], folder))
    return _from_tables(open_tables(folder, files), str(folder), box_format or known, stated, (folder,))


def read_boxes_in_place(where: str, files: Sequence[ShardFile], box_format: BoxFormat | None = None) -> BoxSource:
    """Read what ``read_box_parquet`` reads, where it lies, a row group at a time.

    Args:
        where: what to call the data set.
        files: its files, at least one.
        box_format: as of ``read_box_parquet``.

    Raises:
        UserError: as of ``read_box_parquet``, and if a file is far away and cannot be reached.
    """
    stated, known = _stated(files[0])
    tables = open_in_place(where, files)
    columns = _columns(tables["train"].features, where)
    groups = {part: RowGroups(table.files, [columns.image]) for part, table in tables.items()}
    parts = {
        part: _Part(ShardColumn(table, groups[part], columns.image), table.values) for part, table in tables.items()
    }
    source = _from_parts(parts, columns, where, box_format or known, stated)
    return source._replace(notes=(told_of(groups["train"], where),))


def _stated(file: ShardFile) -> tuple[list[str] | None, BoxFormat | None]:
    """Names of classes and format of boxes, as far as the metadata of a file's schema says them."""
    metadata = read_schema(file)[0].metadata or {}
    stated = next((json.loads(metadata[key]) for key in _NAMES if key in metadata), None)
    said = metadata.get(b"bbox_format", b"").decode()[:4]
    return stated, "xyxy" if said == "xyxy" else "xywh" if said == "xywh" else None


def read_box_hub(name: str, box_format: BoxFormat | None = None) -> BoxSource:
    """Download a data set with boxes of the Hugging Face hub, or take it from the local cache.

    Args:
        name: as on the hub, "owner/name".
        box_format: as of ``read_box_parquet``.

    Raises:
        UserError: if the hub has no such data set, cannot be reached, or the columns do not suit.
    """
    return _from_tables(download_tables(name, ()), name, box_format, None, cache_folders())


class _Columns(NamedTuple):
    """What the columns of a table are called.

    Attributes:
        image: of the images.
        objects: of the lists of objects.
        category: their field of classes.
        names: of the classes, where the columns say them.
        sized: whether width and height of the images stand beside them.
    """

    image: str
    objects: str
    category: str
    names: list[str] | None
    sized: bool


class _Part(NamedTuple):
    """One part of a table.

    Attributes:
        images: its column of images.
        values: what a column that is no image holds, row after row.
    """

    images: EncodedColumn
    values: Callable[[str], Sequence[Any]]


def _from_tables(
    tables: Mapping[str, Any],
    where: str,
    box_format: BoxFormat | None,
    stated: list[str] | None,
    roots: Sequence[Path],
) -> BoxSource:
    found = by_part(tables, where)
    columns = _columns(found["train"].features, where)
    parts = {
        part: _Part(
            TableColumn(table, columns.image, part, roots),
            lambda name, table=table: table.select_columns([name])[name],  # type: ignore[misc]
        )
        for part, table in found.items()
    }
    return _from_parts(parts, columns, where, box_format, stated)


def _columns(features: Mapping[str, Any], where: str) -> _Columns:
    """The columns of images and objects.

    Raises:
        UserError: if there are none.
    """
    images = image_columns(features)
    column = next((name for name in _OBJECTS if name in features), None)
    fields = _fields(features[column]) if column else {}
    category = next((name for name in _CLASS if name in fields), None)
    if len(images) != 1 or column is None or category is None or "bbox" not in fields:
        raise UserError(
            f"{where} must have one column of images and a column objects, a struct of the lists bbox and category; it "
            f"has {', '.join(features)}."
        )
    sized = {"width", "height"} <= features.keys()
    return _Columns(images[0], column, category, _class_names(fields[category]), sized)


def _from_parts(
    parts: Mapping[str, _Part],
    columns: _Columns,
    where: str,
    box_format: BoxFormat | None,
    stated: list[str] | None,
) -> BoxSource:
    category = columns.category
    found = {part: [_as_lists(entry) for entry in table.values(columns.objects)] for part, table in parts.items()}
    told = box_format or _tell_format(parts, found, where, sized=columns.sized)
    rows: dict[str, BoxRows] = {
        part: BoxTableRows(table.images, found[part], category, told) for part, table in parts.items()
    }
    names = stated or columns.names
    if names is None:
        largest = max((max(entry[category], default=0) for entries in found.values() for entry in entries), default=0)
        names = [f"class {number}" for number in range(largest + 1)]
    return BoxSource(tuple(names), rows, {part: f"the split {part} of {where}" for part in parts})


def _fields(feature: Any) -> Mapping[str, Any]:
    """The fields of a struct of lists, or of a list of structs, which older versions of the library make of it."""
    inner = getattr(feature, "feature", feature)
    inner = inner[0] if isinstance(inner, list) else inner
    return inner if isinstance(inner, Mapping) else {}


def _as_lists(entry: Any) -> Mapping[str, Any]:
    """Lists by field, of such or of a list of structs."""
    if isinstance(entry, Mapping):
        return entry
    return {name: [one[name] for one in entry] for name in (entry[0] if entry else ("bbox", *_CLASS))}


def _class_names(feature: Any) -> list[str] | None:
    names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _tell_format(
    parts: Mapping[str, _Part], found: Mapping[str, Sequence[Mapping[str, Any]]], where: str, *, sized: bool
) -> BoxFormat:
    """What the four numbers are, if one of both would leave a box turned round, or out of its image."""
    corners = widths = True
    for part, table in parts.items():
        sizes = [table.values(name) for name in ("width", "height")] if sized else None
        for row, entry in enumerate(found[part]):
            boxes = np.array(entry["bbox"], dtype=np.float64).reshape(-1, 4)
            corners &= bool((boxes[:, 2:] >= boxes[:, :2]).all())
            if sizes is not None:
                edge = np.array([sizes[0][row], sizes[1][row]]) + 1
                widths &= bool((boxes[:, :2] + boxes[:, 2:] <= edge).all())
    if corners == widths:
        raise UserError(
            f"nothing tells what the four numbers of a bbox in {where} are: give box_format='xyxy' for two corners, or "
            "'xywh' for a corner, width and height."
        )
    return "xyxy" if corners else "xywh"
