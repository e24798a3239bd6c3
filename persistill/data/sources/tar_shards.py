"""Data sets as tar files in the layout of WebDataset: an image and its class have one name, but for the ending."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from persistill.data.sources.base import LABEL_NAMES, ImageRows, IntArray, Source
from persistill.data.sources.class_column import number_classes
from persistill.data.sources.known_headers import KnownHeaders
from persistill.data.sources.shard_file import ShardFile, threads_for
from persistill.data.sources.shards import shards_by_part
from persistill.data.sources.tar_index import whole
from persistill.data.sources.tar_samples import ClassValue, tar_samples
from persistill.errors import UserError
from persistill.utils.image_reader import SUFFIXES, open_image
from persistill.utils.threads import in_threads
from persistill.utils.units import first_few

TAR = ".tar"
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


class TarRows:
    """The images of one part, in tar files.

    Args:
        part: the tar files, and the images in them.
        targets: (N,) class numbers.

    Attributes:
        targets: likewise.
        headers: what is known of images without opening them.
        threads: in how many to read.
    """

    def __init__(self, part: "_Part", targets: IntArray) -> None:
        self._files = part.files
        self._shown = [file.inside.as_posix() for file in part.files]
        # Plain arrays: a million named tuples would take ten times as much memory.
        self._shards = np.array(part.shards, dtype=np.int32)
        self._names = [sample.image.name for sample in part.samples]
        self._offsets = np.array([sample.image.offset for sample in part.samples], dtype=np.int64)
        self._sizes = np.array([sample.image.size for sample in part.samples], dtype=np.int64)
        self.headers = KnownHeaders(len(part.samples))
        for row, sample in enumerate(part.samples):
            if sample.header is not None:
                self.headers.remember(row, sample.header)
        self.targets = targets
        self.threads = threads_for(part.files)

    def open(self, row: int) -> Image.Image:
        """Open an image; its bytes are read, and those of no other."""
        size = self.length(row)
        return open_image(whole(self._files[self._shards[row]].read(int(self._offsets[row]), size), size))

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
    names = expand_ranges(source)
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


def expand_ranges(source: str) -> list[str]:
    """The names that one with ranges stands for, ``train-{000..009}.tar`` for ten.

    Raises:
        UserError: if a range is none.
    """
    names = [source]
    while found := _RANGE.search(names[0]):
        low, high = int(found[1]), int(found[2])
        if not low <= high < low + _MOST_SHARDS:
            raise UserError(
                f"{found[0]} in {source} is no range of at most {_MOST_SHARDS:,} numbers, the lower one first."
            )
        numbers = [str(number).zfill(len(found[1])) for number in range(low, high + 1)]
        names = [_RANGE.sub(number, name, count=1) for name in names for number in numbers]
    return names


def read_tar_shards(files: Sequence[ShardFile], names: Sequence[str] | None, label: str | None, where: str) -> Source:
    """Find the images in tar files in the layout of WebDataset.

    Files of one name, up to the first dot, belong together: ``0001.jpg`` and ``0001.cls``, which holds the number or
    the name of the class, or ``0001.json``, which holds it under label, class, category or target, or under the key
    ``label``. Tar files belong to parts as ``shards_by_part`` says.

    Args:
        files: the tar files, at least one.
        names: of numbered classes, from ``classes.txt`` beside the tar files; None if there is no such file.
        label: the key of the JSON files that holds the class; None to take ``.cls`` files, where there are some.
        where: what to call the data set in messages.

    Raises:
        UserError: if a tar file is damaged, an image has no class, or a class no image.
    """
    found: dict[str, _Part] = {}
    for part, shards in shards_by_part(where, files, "tar files").items():
        found[part] = _Part(shards, label)
        if not found[part].samples:
            raise UserError(
                f"there are no images in {first_few([str(file) for file in shards])}: a tar file in the layout of "
                f"WebDataset holds images ({', '.join(sorted(SUFFIXES))}), each beside a file of the same name that "
                "ends in .cls or .json and says its class."
            )
    if "train" not in found:
        raise UserError(f"{where} has no training images: its tar files belong to {' and '.join(found)}.")
    if all(sample.value is None for sample in found["train"].samples):
        raise UserError(
            f"no training image of {where} has a class: beside 0001.jpg the layout of WebDataset has 0001.cls with the "
            f"class, or 0001.json that holds it under {label or ', '.join(LABEL_NAMES)}."
            f"{'' if label is None else ' Or leave data.label out.'}"
        )
    values = _by_name({part: [sample.value for sample in one.samples] for part, one in found.items()}, names)
    numbered = number_classes(values, names, label or "class", where)
    rows: dict[str, ImageRows] = {part: TarRows(found[part], targets) for part, targets in numbered.targets.items()}
    notes = [*numbered.notes]
    if alone := [name for one in found.values() for name in one.alone]:
        notes.append(f"{len(alone):,} files of {where} say the class of no image: {first_few(alone)}.")
    origins = {part: first_few([str(file) for file in found[part].files]) for part in rows}
    return Source(numbered.classes, rows, origins, tuple(notes))


class _Part:
    """The images of one part.

    Attributes:
        files: the tar files.
        shards: for each image the position of its tar file in ``files``.
        samples: the images.
        alone: files that say the class of no image.
    """

    def __init__(self, files: Sequence[ShardFile], label: str | None) -> None:
        self.files = files
        found = in_threads(lambda number: tar_samples(files[number], label), len(files), threads=threads_for(files))
        self.shards = [number for number, of_file in enumerate(found) for _ in of_file.samples]
        self.samples = [sample for of_file in found for sample in of_file.samples]
        self.alone = [name for of_file in found for name in of_file.alone]


def _by_name(
    values: Mapping[str, Sequence[ClassValue]], names: Sequence[str] | None
) -> Mapping[str, Sequence[ClassValue]]:
    """Classes alike: numbers where names are those of a list, and all names where some are."""
    if names is not None:
        number: Mapping[Any, int] = {name: i for i, name in enumerate(names)}
        return {part: [number.get(value, value) for value in found] for part, found in values.items()}
    if any(isinstance(value, str) for found in values.values() for value in found):
        return {part: [None if value is None else str(value) for value in found] for part, found in values.items()}
    return values
