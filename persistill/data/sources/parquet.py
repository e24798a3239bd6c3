"""Data sets as tables with an image column and a class column: folders of Parquet files, and names on the hub.

Both are read through Hugging Face ``datasets``, which keeps a memory-mapped copy in its cache.
"""

import errno
import glob
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from persistill.data.sources.base import LABEL_NAMES, ImageRows, IntArray, Source, part_of
from persistill.data.sources.class_column import number_classes
from persistill.data.sources.shard_file import ShardFile, local_shards, threads_for
from persistill.data.sources.shards import Shard, shards_by_part
from persistill.errors import UserError, first_line, unknown
from persistill.utils.image_reader import open_image
from persistill.utils.threads import in_threads

_SECONDS = 5
"""In which the hub has to answer."""


class TableColumn:
    """The images in a column of one part of a table.

    Args:
        table: a ``datasets.Dataset``.
        column: its image column.
        part: its name, for messages.
        roots: folders in which files may lie that the table names by their paths; relative paths begin in the first.
    """

    def __init__(self, table: Any, column: str, part: str, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._table = table.select_columns([column]).with_format("arrow")
        self._column = column
        self._part = part

    def __len__(self) -> int:
        return len(self._table)

    def open(self, row: int) -> Image.Image:
        """Open an image, from its bytes, or from the file that its path names."""
        return open_value(self._table[row][self._column][0].as_py(), self._column, self._roots)

    def name(self, row: int) -> str:
        """Row, part and, where it is kept, the file name."""
        path = self._paths[row]
        return f"row {row} of {self._part}" + (f" ({Path(path).name})" if path else "")

    def length(self, row: int) -> int:
        """Bytes of the encoded image; 0 where the table holds a path only."""
        return int(self._lengths[row])

    @cached_property
    def _paths(self) -> list[str | None]:
        paths: list[str | None] = pc.struct_field(self._table[:][self._column], "path").to_pylist()
        return paths

    @cached_property
    def _lengths(self) -> npt.NDArray[np.int64]:
        lengths = pc.binary_length(pc.struct_field(self._table[:][self._column], "bytes"))
        array: npt.NDArray[np.int64] = pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
        return array


class TableRows(TableColumn):
    """The images of one part of a table, with their classes.

    Args:
        table: a ``datasets.Dataset``.
        column: its image column.
        targets: (N,) class numbers.
        part: its name, for messages.
        roots: as of ``TableColumn``.
    """

    def __init__(self, table: Any, column: str, targets: IntArray, part: str, roots: Sequence[Path]) -> None:
        super().__init__(table, column, part, roots)
        self.targets = targets


def open_value(value: Mapping[str, Any] | None, column: str, roots: Sequence[Path]) -> Image.Image:
    """Open the image of a row, from its bytes, or from the file that its path names.

    Args:
        value: bytes and path, as the row has them.
        column: its name.
        roots: as of ``file_of_row``.

    Raises:
        ValueError: if there is no image, or it is none.
        OSError: if it cannot be read.
    """
    if value is None:
        raise ValueError(f"the column {column!r} of the row is empty")
    if value["bytes"] is not None:
        return open_image(value["bytes"])
    return open_image(file_of_row(value["path"], roots))


def file_of_row(path: str | None, roots: Sequence[Path]) -> Path:
    """The file that a row names in place of the bytes of an image.

    Args:
        path: as the row has it.
        roots: in one of them it must lie; a relative path begins in the first. There are none of a table far away.

    Raises:
        ValueError: if there is none, or it lies elsewhere: somebody else's data set must not have other files read.
    """
    if path is None:
        raise ValueError("the row holds no image")
    if not roots:
        raise ValueError(
            f"the row names a file, {path!r}, in place of its bytes, and files behind URLs are not looked for"
        )
    file = Path(os.path.normpath(roots[0].absolute() / path))
    if not any(file.is_relative_to(os.path.normpath(root.absolute())) for root in roots):
        raise ValueError(f"its path, {path!r}, leads out of {roots[0]}")
    return file


def read_parquet(folder: Path, files: Sequence[Path], label: str | None) -> Source:
    """Read a folder of Parquet files in the Hugging Face image layout.

    Files belong to parts as ``shards_by_part`` says.

    Args:
        folder: what to call the data set.
        files: its files, at least one.
        label: the class column; None if there is only one that can be it.

    Raises:
        UserError: if a file is damaged, files disagree, or no column holds images or classes.
    """
    return _from_tables(open_tables(folder, files), label, str(folder), (folder,))


def open_tables(folder: Path, files: Sequence[Path]) -> Mapping[str, Any]:
    """Open Parquet files as ``datasets`` does, by the names of their parts.

    Raises:
        UserError: if a file is damaged or files disagree.
    """
    from datasets import load_dataset  # noqa: PLC0415  half a second that other sources need not pay
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    shards, _ = filled_shards(str(folder), local_shards(folder, files))
    named = {part: [glob.escape(str(file)) for file in of_part] for part, of_part in shards.items()}
    try:
        tables: Mapping[str, Any] = load_dataset("parquet", data_files=named)
    except (OSError, ValueError, pa.ArrowException, DatasetsError) as error:
        full = isinstance(error, OSError) and (error.errno == errno.ENOSPC or "disk space" in str(error))
        advice = " Or have no copy made in the cache of datasets: --set data.parquet=in_place" if full else ""
        raise UserError(
            f"{folder} cannot be read as Parquet: {first_line(error.__cause__ or error)}{advice}"
        ) from error
    return tables


def filled_shards(where: str, files: Sequence[Shard]) -> tuple[dict[str, list[Shard]], Any]:
    """Parquet files with rows, by the names of their parts, and their columns as ``datasets`` knows them.

    Raises:
        UserError: if a file is damaged, files disagree, or a part has no rows.
    """
    parts = shards_by_part(where, files, "Parquet files")
    found_in = in_threads(lambda i: _schema(files[i]), len(files), threads=threads_for(files))
    schemas = dict(zip(map(str, files), found_in, strict=True))
    features = None
    filled: dict[str, list[Shard]] = {}
    for part, shards in parts.items():
        for file in shards:
            found, rows = schemas[str(file)]
            if not rows:
                continue
            if features is not None and found != features:
                raise UserError(f"{file} and {files[0]} have different columns, types or class names.")
            features = found
            filled.setdefault(part, []).append(file)
        if part not in filled:
            raise UserError(f"{shards[0]} holds no rows. Remove it, or put the rows of its images in.")
    return filled, features


def read_schema(file: ShardFile) -> tuple[pa.Schema, int]:
    """The columns of a Parquet file, and the number of its rows.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        with file.parquet() as opened:
            return opened.schema_arrow, opened.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as Parquet ({error}); it may be cut short.") from None


def _schema(file: ShardFile) -> tuple[Any, int]:
    """The columns of a Parquet file as ``datasets`` knows them, and the number of its rows.

    Raises:
        UserError: if the file is damaged, or what ``datasets`` notes in its schema is.
    """
    from datasets import Features  # noqa: PLC0415

    schema, rows = read_schema(file)
    try:
        return Features.from_arrow_schema(schema), rows
    except Exception as error:  # noqa: BLE001  whatever comes of reading JSON of any shape
        raise UserError(
            f'the columns of {file} are described wrongly under "huggingface" in the metadata of its schema: '
            f"{first_line(error)} Write the file again with the library datasets, or without this metadata."
        ) from None


def read_hub(name: str, label: str | None, known: Sequence[str]) -> Source:
    """Download a data set of the Hugging Face hub, or take it from the local cache.

    Args:
        name: as on the hub, "owner/name".
        label: the class column; None if there is only one that can be it.
        known: source names, to propose near ones.

    Raises:
        UserError: if the hub has no such data set, cannot be reached, or the columns do not suit.
    """
    return _from_tables(download_tables(name, known), label, name, cache_folders())


def cache_folders() -> tuple[Path, ...]:
    """Where the files of data sets of the hub lie."""
    from datasets import config  # noqa: PLC0415
    from huggingface_hub import constants  # noqa: PLC0415

    return tuple(map(Path, (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)))


def download_tables(name: str, known: Sequence[str]) -> Mapping[str, Any]:
    """The tables of a data set of the hub, by the names of its splits.

    Raises:
        UserError: if the hub has no such data set, or cannot be reached.
    """
    from datasets import DatasetDict, load_dataset  # noqa: PLC0415
    from datasets.exceptions import DatasetNotFoundError, DatasetsError  # noqa: PLC0415
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415

    by_hand = "Or download its files elsewhere and name the folder that holds them: --set data.source=FOLDER"
    try:
        _look_for(name)
        tables = load_dataset(name)
    except (DatasetNotFoundError, RepositoryNotFoundError):
        raise unknown(
            "data source",
            name,
            known,
            f"There is no folder of this name here, and the hub has no public data set of it. {by_hand}",
        ) from None
    except ConnectionError as error:
        raise UserError(
            f"{name!r} is no folder here, and the Hugging Face hub, which may have a data set of this name, "
            f"cannot be reached ({first_line(error)}). If you mean a folder, look at its path. {by_hand}"
        ) from error
    except (OSError, ValueError, RuntimeError, TypeError, DatasetsError) as error:
        raise UserError(f"the data set {name!r} cannot be loaded: {first_line(error)} {by_hand}") from error
    if not isinstance(tables, DatasetDict):
        raise UserError(f"the data set {name!r} came without splits. {by_hand}")
    splits: Mapping[str, Any] = tables
    return splits


def _look_for(name: str) -> None:
    """Ask the hub once and briefly for a data set that is not in the cache: ``load_dataset`` tries for half a minute.

    Raises:
        RepositoryNotFoundError: if the hub has no such data set.
        ConnectionError: if it does not answer.
    """
    from datasets import config  # noqa: PLC0415
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError  # noqa: PLC0415

    if any(Path(config.HF_DATASETS_CACHE).glob(f"{name.partition('/')[0]}___*")):
        return
    try:
        HfApi().dataset_info(name, timeout=_SECONDS)
    except RepositoryNotFoundError:
        raise
    except HfHubHTTPError:
        return  # it answers, and load_dataset knows better what is the matter
    except Exception as error:
        raise ConnectionError(first_line(error)) from error  # the errors of the client's own library differ by version


def by_part(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tables of training, validation and test.

    Raises:
        UserError: if there is none for training, or they have different columns.
    """
    parts = {part: table for name, table in tables.items() if (part := part_of(name)) is not None}
    if "train" not in parts:
        raise UserError(f"{where} has no training split; its splits are: {', '.join(tables)}.")
    for part, table in parts.items():
        if set(table.features) != set(parts["train"].features):
            raise UserError(f"the splits of {where} have different columns: {part} has {', '.join(table.features)}.")
    return parts


def _from_tables(tables: Mapping[str, Any], label: str | None, where: str, roots: Sequence[Path]) -> Source:
    parts = by_part(tables, where)
    features = parts["train"].features
    images = image_column(features, where)
    column = label_column(features, label, where)
    raw = {
        part: table.select_columns([column]).with_format("arrow")[:][column].to_pylist()
        for part, table in parts.items()
    }
    numbered = number_classes(raw, getattr(features[column], "names", None), column, where)
    rows: dict[str, ImageRows] = {
        part: TableRows(parts[part], images, targets, part, roots) for part, targets in numbered.targets.items()
    }
    return Source(numbered.classes, rows, {part: f"the split {part} of {where}" for part in rows}, numbered.notes)


def image_columns(features: Mapping[str, Any]) -> list[str]:
    """The columns that hold images."""
    return [
        name
        for name, feature in features.items()
        if type(feature).__name__ == "Image" or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})
    ]


def image_column(features: Mapping[str, Any], where: str) -> str:
    """The only column of images.

    Raises:
        UserError: if there is none, or several.
    """
    found = image_columns(features)
    if len(found) != 1:
        raise UserError(
            f"{where} must have one column of images (struct of bytes and path); it has "
            f"{', '.join(found) if found else 'none'}, among the columns {', '.join(features)}."
        )
    return found[0]


def label_column(features: Mapping[str, Any], label: str | None, where: str) -> str:
    """The column of classes: the one that is asked for, or the only one that can be it.

    Raises:
        UserError: if there is none, or several.
    """
    named = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    plain = [
        name
        for name, feature in features.items()
        if re.fullmatch(r"u?int\d+|(large_)?string|bool", str(getattr(feature, "dtype", "")))
    ]
    if label is not None:
        if label not in {*named, *plain}:
            raise unknown("class column (data.label)", label, {*named, *plain}, f"These are the ones in {where}.")
        return label
    found = named or plain
    if len(found) != 1:
        what = "several columns that can be the class" if found else "no column that can be the class"
        likely = min(found, key=_unlikely) if found else ""
        raise UserError(
            f"{where} has {what}: {', '.join(found or features)}. "
            + (f"Say which: --set data.label={likely}" if found else "It needs one of integers or strings.")
        )
    return found[0]


def _unlikely(column: str) -> int:
    """Where a column comes, from the likeliest to hold the class, by its name."""
    name = column.lower()
    if name in LABEL_NAMES:
        return LABEL_NAMES.index(name)
    return len(LABEL_NAMES) + (not any(word in name for word in LABEL_NAMES))
