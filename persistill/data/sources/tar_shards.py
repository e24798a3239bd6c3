"""Data sets as tar files in the layout of WebDataset: an image and its class have one name, but for the ending."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from persistill.data.sources.base import LABEL_NAMES, ImageRows, IntArray, Source
from persistill.data.sources.class_column import number_classes
from persistill.data.sources.class_names import read_class_names
from persistill.data.sources.shards import shards_by_part
from persistill.data.sources.tar_index import TarMember, read_member, tar_members
from persistill.errors import UserError
from persistill.utils.image_reader import SUFFIXES, open_image
from persistill.utils.strict_json import decode_json
from persistill.utils.units import first_few

TAR = ".tar"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000
_LARGEST_LABEL = 2**20  # bytes
_WHOLE = re.compile(r"-?\d{1,18}")


class TarRows:
    """The images of one part, in tar files.

    Args:
        root: the folder that names are told from.
        part: the tar files, and the images in them.
        targets: (N,) class numbers.
    """

    def __init__(self, root: Path, part: "_Part", targets: IntArray) -> None:
        self._files = part.files
        self._shown = [file.relative_to(root).as_posix() for file in part.files]
        # Plain arrays: a million named tuples would take ten times as much memory.
        self._shards = np.array(part.shards, dtype=np.int32)
        self._names = [member.name for member in part.images]
        self._offsets = np.array([member.offset for member in part.images], dtype=np.int64)
        self._sizes = np.array([member.size for member in part.images], dtype=np.int64)
        self.targets = targets

    def open(self, row: int) -> Image.Image:
        """Open an image; its bytes are read, and those of no other."""
        with self._files[self._shards[row]].open("rb") as opened:
            return open_image(read_member(opened, int(self._offsets[row]), self.length(row)))

    def name(self, row: int) -> str:
        """The tar file's path inside the folder, and the image's inside the tar file."""
        return f"{self._shown[self._shards[row]]}/{self._names[row]}"

    def length(self, row: int) -> int:
        """Bytes of the encoded image."""
        return int(self._sizes[row])


def shard_pattern(source: str) -> tuple[Path, list[Path]] | None:
    """The tar files that a source names itself: one, or several by a range, ``train-{000..009}.tar``.

    Returns:
        The folder that names are told from, and the files; None if the source is no name of tar files.

    Raises:
        UserError: if one of them is not there, or a range is none.
    """
    if not source.lower().endswith(TAR):
        return None
    names = [source]
    while found := _RANGE.search(names[0]):
        low, high = int(found[1]), int(found[2])
        if not low <= high < low + _MOST_SHARDS:
            raise UserError(
                f"{found[0]} in {source} is no range of at most {_MOST_SHARDS:,} numbers, the lower one first."
            )
        numbers = [str(number).zfill(len(found[1])) for number in range(low, high + 1)]
        names = [_RANGE.sub(number, name, count=1) for name in names for number in numbers]
    files = [Path(name).expanduser() for name in names]
    gone = [str(file) for file in files if not file.is_file()]
    if gone and len(files) == 1:
        raise UserError(f"there is no file {source}.")
    if gone:
        raise UserError(f"{len(gone):,} of {len(files):,} tar files of {source} are not there: {first_few(gone)}.")
    common = files[0].parent
    while not all(file.is_relative_to(common) for file in files):
        common = common.parent
    return common, files


def read_tar_shards(folder: Path, files: Sequence[Path], label: str | None, where: str) -> Source:
    """Find the images in tar files in the layout of WebDataset.

    Files of one name, up to the first dot, belong together: ``0001.jpg`` and ``0001.cls``, which holds the number or
    the name of the class, or ``0001.json``, which holds it under label, class, category or target, or under the key
    ``label``. Names of numbered classes stand in ``classes.txt`` beside the tar files, one a line. Tar files belong to
    parts as ``shards_by_part`` says.

    Args:
        folder: which names are told from.
        files: the tar files, at least one.
        label: the key of the JSON files that holds the class; None to take ``.cls`` files, where there are some.
        where: what to call the data set in messages.

    Raises:
        UserError: if a tar file is damaged, an image has no class, or a class no image.
    """
    found: dict[str, _Part] = {}
    alone: list[str] = []
    for part, shards in shards_by_part(folder, files, "tar files").items():
        found[part] = _Part(shards)
        for number, file in enumerate(shards):
            alone += found[part].add(number, file, label)
        if not found[part].images:
            raise UserError(
                f"there are no images in {first_few([str(file) for file in shards])}: a tar file in the layout of "
                f"WebDataset holds images ({', '.join(sorted(SUFFIXES))}), each beside a file of the same name that "
                "ends in .cls or .json and says its class."
            )
    if "train" not in found:
        raise UserError(f"{where} has no training images: its tar files belong to {' and '.join(found)}.")
    if all(value is None for value in found["train"].values):
        raise UserError(
            f"no training image of {where} has a class: beside 0001.jpg the layout of WebDataset has 0001.cls with the "
            f"class, or 0001.json that holds it under {label or ', '.join(LABEL_NAMES)}."
            f"{'' if label is None else ' Or leave data.label out.'}"
        )
    names = read_class_names(folder)
    values = _by_name({part: one.values for part, one in found.items()}, names)
    numbered = number_classes(values, names, label or "class", where)
    rows: dict[str, ImageRows] = {
        part: TarRows(folder, found[part], targets) for part, targets in numbered.targets.items()
    }
    notes = [*numbered.notes]
    if alone:
        notes.append(f"{len(alone):,} files of {where} say the class of no image: {first_few(alone)}.")
    origins = {part: first_few([str(file) for file in found[part].files]) for part in rows}
    return Source(numbered.classes, rows, origins, tuple(notes))


class _Part:
    """The images of one part that were found so far.

    Attributes:
        files: the tar files.
        shards: for each image the position of its tar file in ``files``.
        images: where they lie.
        values: what is said of the class of each.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.shards: list[int] = []
        self.images: list[TarMember] = []
        self.values: list[int | str | None] = []

    def add(self, number: int, file: Path, label: str | None) -> list[str]:
        """Take the images of one tar file; what belongs to no image is returned.

        Raises:
            UserError: if several images have one name, or a class cannot be read.
        """
        images: dict[str, TarMember] = {}
        labels: dict[str, TarMember] = {}
        for member in tar_members(file):
            folder, slash, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            key = f"{folder}{slash}{stem}"
            if f".{ending.rpartition('.')[2].lower()}" in SUFFIXES:
                if key in images:
                    raise UserError(
                        f"{file} holds two images of one name, {images[key].name} and {member.name}: of each name, up "
                        "to the first dot, one image with its class is read."
                    )
                images[key] = member
            elif (label is None and ending.lower() == "cls") or (ending.lower() == "json" and key not in labels):
                labels[key] = member
        with file.open("rb") as opened:
            for key, image in images.items():
                self.shards.append(number)
                self.images.append(image)
                self.values.append(_value(opened, file, labels[key], label) if key in labels else None)
        return [f"{file.name}/{member.name}" for key, member in labels.items() if key not in images]


def _value(opened: BinaryIO, file: Path, member: TarMember, label: str | None) -> int | str | None:
    """What a .cls or .json file says of a class."""
    if member.size > _LARGEST_LABEL:
        raise UserError(f"{file}/{member.name} does not say a class: it has {member.size:,} bytes.")
    try:
        data = read_member(opened, member.offset, member.size)
        if member.name.lower().endswith(".cls"):
            text = data.decode("utf-8").strip()
            return int(text) if _WHOLE.fullmatch(text) else text or None
        content = decode_json(data)
    except ValueError as error:
        raise UserError(f"{file}/{member.name} does not say a class ({error}).") from None
    if not isinstance(content, dict):
        return None
    keys = LABEL_NAMES if label is None else (label,)
    value = next((content[key] for key in keys if key in content), None)
    if value is None or type(value) in (int, str):
        return value
    raise UserError(f"{file}/{member.name} does not say a class: it is {value!r}, and a class is a number or a name.")


def _by_name(
    values: Mapping[str, Sequence[int | str | None]], names: Sequence[str] | None
) -> Mapping[str, Sequence[int | str | None]]:
    """Classes alike: numbers where names are those of a list, and all names where some are."""
    if names is not None:
        number: Mapping[Any, int] = {name: i for i, name in enumerate(names)}
        return {part: [number.get(value, value) for value in found] for part, found in values.items()}
    if any(isinstance(value, str) for found in values.values() for value in found):
        return {part: [None if value is None else str(value) for value in found] for part, found in values.items()}
    return values
