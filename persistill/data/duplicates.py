"""The same image twice: in two splits, in two classes, or throughout."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from persistill.data.pixel_hashes import Hashes
from persistill.data.sources.base import IntArray

_ORDER = ("test", "validation", "train")
"""Of two copies in two splits, the one in the split that comes first here stays."""
_LEAKS = (("test", "train"), ("validation", "train"), ("test", "validation"))

_WORDS = {"train": "training", "validation": "validation"}


class Duplicates(NamedTuple):
    """Images that are equal pixel for pixel.

    Attributes:
        leaks: what is wrong between splits and between classes, a sentence each. Figures on such images mean little.
        remarks: what is odd and does no such harm.
        dropped: split -> (n,) int64 positions that ``data.duplicates="drop"`` takes out: training images that are
            validation or test images too, validation images that are test images too, and training images of one set
            of pixels and several classes.
    """

    leaks: tuple[str, ...]
    remarks: tuple[str, ...]
    dropped: Mapping[str, IntArray]


def find_duplicates(hashes: Hashes, name_of: Callable[[str, int], str]) -> Duplicates:
    """Find equal images.

    Args:
        hashes: of all images.
        name_of: split and position -> what to call an image.
    """
    counts = {split: len(hashes.pixels[split]) for split in _ORDER}
    _, group = np.unique(np.concatenate([hashes.pixels[split] for split in _ORDER]), return_inverse=True)
    _, target = np.unique(np.concatenate([hashes.targets[split] for split in _ORDER]), return_inverse=True)
    split_of = np.repeat(np.arange(3), [counts[split] for split in _ORDER])
    position = np.concatenate([np.arange(counts[split]) for split in _ORDER])
    total = int(group.max()) + 1
    has = {split: np.bincount(group[split_of == i], minlength=total) > 0 for i, split in enumerate(_ORDER)}
    first = {split: _first(group, split_of == i, total) for i, split in enumerate(_ORDER)}
    # Least and largest target of each group differ where it has several.
    least, largest = np.full(total, np.iinfo(np.int64).max), np.full(total, -1)
    np.minimum.at(least, group, target)
    np.maximum.at(largest, group, target)
    several = least != largest

    def called(row: int) -> str:
        return name_of(_ORDER[split_of[row]], int(position[row]))

    leaks = []
    if total == 1 and len(group) > 1:
        leaks.append(f"All {len(group):,} images are equal, pixel for pixel.")
    else:
        for held_out, other in _LEAKS:
            rows = np.flatnonzero((split_of == _ORDER.index(held_out)) & has[other][group])
            if len(rows):
                pairs = [f"{called(row)} = {called(first[other][group[row]])}" for row in rows[:3]]
                leaks.append(
                    f"{len(rows):,} of {counts[held_out]:,} {held_out} images are {_WORDS[other]} images, pixel for "
                    f"pixel: {', '.join(pairs)}{_more(len(rows))}."
                )
        if several.any():
            rows = np.flatnonzero(several[group])
            examples = [
                " = ".join(map(called, np.flatnonzero(group == one)[:2])) for one in np.flatnonzero(several)[:3]
            ]
            leaks.append(
                f"{len(rows):,} images are equal to others with another target, pixel for pixel: {', '.join(examples)}"
                f"{_more(int(several.sum()))}."
            )
    train = split_of == _ORDER.index("train")
    remarks = []
    repeated = int(train.sum()) - int(has["train"].sum())
    if repeated and total > 1:
        rows = np.flatnonzero(train & (np.arange(len(group)) != first["train"][group]))
        pairs = [f"{called(row)} = {called(first['train'][group[row]])}" for row in rows[:3]]
        remarks.append(
            f"{repeated:,} of {counts['train']:,} training images are others again, pixel for pixel, and count double: "
            f"{', '.join(pairs)}{_more(repeated)}."
        )
    validation = split_of == _ORDER.index("validation")
    elsewhere = has["test"] | has["validation"]
    return Duplicates(
        tuple(leaks),
        tuple(remarks),
        {
            "train": position[train & (elsewhere | several)[group]],
            "validation": position[validation & has["test"][group]],
        },
    )


def _first(group: IntArray, member: npt.NDArray[np.bool_], total: int) -> IntArray:
    """Group -> the first row of it among the members; -1 where there is none."""
    first = np.full(total, -1)
    rows = np.flatnonzero(member)[::-1]
    first[group[rows]] = rows
    return first


def _more(count: int) -> str:
    return f" and {count - 3:,} more" if count > 3 else ""
