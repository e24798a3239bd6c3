"""Data sets as a folder of image files and a CSV file that says of each file what class it is."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from persistill.data.sources.base import LABEL_NAMES, ImageRows, Source, part_of
from persistill.data.sources.image_folder import FolderRows
from persistill.errors import UserError, unknown
from persistill.utils.image_files import find_image_files, is_image_name, not_taken
from persistill.utils.units import counted, first_few

TABLE_SUFFIXES = (".csv", ".tsv")

_SPLIT_NAMES = ("split", "subset", "set", "partition", "part")
_LOOKED_AT = 200  # rows


class _Layout(NamedTuple):
    """Which column is what."""

    file: int
    label: int
    split: int | None


def label_tables(folder: Path) -> list[Path]:
    """The CSV and TSV files in a folder, sorted, that are not hidden."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in TABLE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_label_table(folder: Path, table: Path, label: str | None) -> Source:
    """Read a table of image files and their classes.

    The table has a line a file, with a comma, semicolon or tab between cells, in UTF-8. Its first line is a header if
    none of its cells names an image file. Files are named as they lie below the folder, or by their name alone, with or
    without ending, where only one file has it. The class is in the column ``label``, or in the one that is called
    label, class, category or target, or in the only other one. A column called split that holds the names of parts says
    which part an image belongs to; without it, all are training images.

    Args:
        folder: holds the images, at any depth.
        table: the CSV file.
        label: the column of classes, by its name; None to find it.

    Raises:
        UserError: if the table cannot be read, has no such columns, or has rows that name no image or no class.
    """
    lines = _read(table)
    files = find_image_files(folder)
    index = _FileIndex(files.names, table.stem)
    header = not any(index.find(cell) or is_image_name(cell.strip()) for cell in lines[0][1])
    names = tuple(cell.strip() for cell in lines[0][1]) if header else ()
    rows = lines[1:] if header else lines
    layout = _layout(table, folder, names, rows, index, label)
    found = _images(table, folder, rows, layout, index)
    classes = tuple(sorted({image[1] for image in found}, key=_natural))
    number = {name: i for i, name in enumerate(classes)}
    parts: dict[str, ImageRows] = {}
    for part in sorted({image[2] for image in found}):
        own = [image for image in found if image[2] == part]
        targets = np.array([number[image[1]] for image in own], dtype=np.int64)
        parts[part] = FolderRows(folder, [folder / image[0] for image in own], targets)
    title = f"columns {names[layout.file]!r} and {names[layout.label]!r}" if header else "no header"
    notes = [f"Files and classes come from {table} ({title})."]
    if unused := sorted(set(files.names) - {image[0] for image in found}):
        notes.append(
            f"{len(unused):,} images below {folder} are not in {table.name}, and not used: {first_few(unused)}."
        )
    origins = {part: str(table) if layout.split is None else f"{table}, split {part}" for part in parts}
    return Source(classes, parts, origins, (*notes, *not_taken(files, str(folder))))


class _FileIndex:
    """Image files by what a table may call them.

    Args:
        names: their paths below the folder.
        part: name of the table; files in a folder of this name come before others of the same name.
    """

    def __init__(self, names: Sequence[str], part: str) -> None:
        self._names = frozenset(names)
        self._part = part
        self._short: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            path = PurePosixPath(name)
            for short in {path.name, path.stem, path.with_suffix("").as_posix()}:
                self._short[short].append(name)

    def find(self, cell: str) -> list[str]:
        """The files that a cell may mean."""
        name = PurePosixPath(cell.strip().replace("\\", "/")).as_posix()
        if name in self._names:
            return [name]
        found = self._short.get(name, [])
        inside = [one for one in found if one.startswith(f"{self._part}/")]
        return inside if len(found) > 1 and len(inside) == 1 else found


def _read(table: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers from 1."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{table} is no text in UTF-8: save it as CSV in UTF-8.") from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = "\t" if table.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UserError(f"{table} cannot be read as CSV: {error}.") from None
    if not lines:
        raise UserError(f"{table} is empty: it must hold a line for each image, with its file name and its class.")
    return lines


def _layout(
    table: Path,
    folder: Path,
    names: tuple[str, ...],
    rows: Sequence[tuple[int, list[str]]],
    index: _FileIndex,
    label: str | None,
) -> _Layout:
    width = max((len(cells) for _, cells in rows), default=0)
    some = rows[:: max(1, len(rows) // _LOOKED_AT)]
    hits = [
        sum(len(cells) > column and bool(index.find(cells[column])) for _, cells in some) for column in range(width)
    ]
    if not hits or not max(hits):
        example = f"; its first row is {', '.join(rows[0][1])}" if rows else ""
        raise UserError(
            f"no column of {table} holds names of image files below {folder}{example}. Name files as they lie below "
            "the folder, or by their name alone."
        )
    # Numbers of rows may be the stems of files; whole file names come before them.
    whole = [sum(len(row) > column and is_image_name(row[column]) for _, row in some) for column in range(width)]
    file = max(range(width), key=lambda column: (hits[column], whole[column]))
    lower = [name.lower() for name in names]
    split = next((lower.index(name) for name in _SPLIT_NAMES if name in lower and name != (label or "").lower()), None)
    if split is not None and not all(len(cells) > split and part_of(cells[split].strip()) for _, cells in rows):
        split = None
    if not names:
        return _Layout(file, _only_other(table, file, width, label), None)
    others = [column for column in range(len(names)) if column not in (file, split)]
    if label is not None:
        known = [names[column] for column in others]
        if label not in known:
            raise unknown("class column (data.label)", label, known, f"These are the ones in {table}.")
        return _Layout(file, names.index(label), split)
    called = [column for name in LABEL_NAMES for column in others if lower[column] == name]
    if not called and len(others) == 1:
        called = others
    if not called:
        raise UserError(
            f"{table} has several columns that can be the class: {', '.join(names[column] for column in others)}. Say "
            f"which: --set data.label={names[others[0]]}"
            if others
            else f"{table} has no column of classes beside the file names: add one, called label."
        )
    return _Layout(file, called[0], split)


def _only_other(table: Path, file: int, width: int, label: str | None) -> int:
    """The column of classes where no header names it."""
    if label is not None:
        raise UserError(f"data.label={label!r} names a column, and {table} has no header: add a first line of names.")
    if width != 2:
        raise UserError(
            f"{table} has no header and {counted(width, 'column')}, so that the one of classes is not known: add "
            "a first line of names, file,label."
        )
    return 1 - file


def _images(
    table: Path, folder: Path, rows: Sequence[tuple[int, list[str]]], layout: _Layout, index: _FileIndex
) -> list[tuple[str, str, str]]:
    """(file, class, part) of each image, in the order of the table.

    Raises:
        UserError: with a line for each kind of row that is of no use.
    """
    found: dict[str, tuple[str, str]] = {}
    wrong: defaultdict[str, list[str]] = defaultdict(list)
    for line, cells in rows:
        if len(cells) <= max(layout.file, layout.label):
            wrong["have too few cells"].append(f"line {line}, {len(cells)} of {max(layout.file, layout.label) + 1}")
            continue
        cell, label = cells[layout.file].strip(), cells[layout.label].strip()
        part = "train" if layout.split is None else str(part_of(cells[layout.split].strip()))
        files = index.find(cell)
        if not cell:
            wrong["name no file"].append(f"line {line}")
        elif PurePosixPath(cell).is_absolute() or ".." in PurePosixPath(cell.replace("\\", "/")).parts:
            wrong[f"name a file outside of {folder}, or by its whole path"].append(f"line {line}, {cell!r}")
        elif not files:
            wrong[f"name a file that is not below {folder}"].append(f"line {line}, {cell!r}")
        elif len(files) > 1:
            wrong["name several files"].append(f"line {line}, {cell!r}: {first_few(files)}")
        elif not label:
            wrong["have no class"].append(f"line {line}, {cell!r}")
        elif found.setdefault(files[0], (label, part)) != (label, part):
            wrong["name a file again, otherwise"].append(
                f"line {line}, {cell!r}: {label} ({part}), before {' ('.join(found[files[0]])})"
            )
    if wrong:
        raise UserError(
            "\n".join(
                f"{len(where):,} of {len(rows):,} rows of {table} {what}: {'; '.join(where[:3])}"
                f"{'; ...' if len(where) > 3 else ''}."
                for what, where in wrong.items()
            )
        )
    if not any(part == "train" for _, part in found.values()):
        raise UserError(f"{table} has no training images: none of its rows says train.")
    return [(file, label, part) for file, (label, part) in found.items()]


def _natural(name: str) -> tuple[bool, int, str]:
    """Numbers by size, then other names."""
    whole = name.isdecimal()
    return not whole, int(name) if whole else 0, name
