"""From what a column says of each image to numbered classes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from persistill.data.sources.base import IntArray
from persistill.errors import UserError
from persistill.utils.units import first_few


class NumberedClasses(NamedTuple):
    """The classes of a data set.

    Attributes:
        classes: their names.
        targets: part -> (N,) class numbers, for parts whose classes are known.
        notes: what a user should know, a sentence each.
    """

    classes: tuple[str, ...]
    targets: Mapping[str, IntArray]
    notes: tuple[str, ...]


def number_classes(
    values: Mapping[str, Sequence[Any]], names: Sequence[str] | None, column: str, where: str
) -> NumberedClasses:
    """Number the classes of all parts alike.

    Args:
        values: part ("train" among them) -> what the column says of each image: numbers from 0 or strings; None or a
            number below 0 where the class is not known. A part other than training without any class is left out.
        names: names of the classes, which values are positions in; None if sorted values are the classes.
        column: what to call the column in messages.
        where: what to call the data set.

    Raises:
        UserError: if the class of an image of a part is not known, and that of others is.
    """
    found: list[Any]
    if names is None:
        found = sorted({value for value in values["train"] if value is not None}, key=_natural)
    else:
        found = list(range(len(names)))
    labeled = {
        part: stated
        for part, stated in values.items()
        # A test part without any class is one whose classes the authors keep to themselves.
        if part == "train" or not all(value is None or _negative(value) for value in stated)
    }
    if names is None:
        _require_no_negatives(labeled, column, where)
    used = {value for stated in labeled.values() for value in stated}
    absent = [] if names is None else [names[value] for value in found if value not in used]
    if names is not None:
        found = [value for value in found if value in used]
    number = {value: i for i, value in enumerate(found)}
    targets: dict[str, IntArray] = {}
    for part, stated in labeled.items():
        targets[part] = np.array([number.get(value, -1) for value in stated], dtype=np.int64)
        if (targets[part] < 0).any():
            row = int(np.argmax(targets[part] < 0))
            raise UserError(
                f"{int((targets[part] < 0).sum())} of {len(stated)} images of the {part} split of {where} have no "
                f"known class; the first is row {row}, whose {column!r} is {stated[row]!r}."
            )
    notes = [
        f"The {len(stated):,} images of the {part} split of {where} have no class: no figure is measured on them."
        for part, stated in values.items()
        if part not in labeled
    ]
    if absent:
        notes.append(f"{len(absent)} named classes of {where} have no image and are left out: {first_few(absent)}.")
    classes = tuple(str(value) if names is None else names[value] for value in found)
    return NumberedClasses(classes, targets, tuple(notes))


def _negative(value: Any) -> bool:
    return isinstance(value, int) and value < 0


def _require_no_negatives(labeled: Mapping[str, Sequence[Any]], column: str, where: str) -> None:
    """Refuse numbers below 0 as classes: they stand for images whose class is not known."""
    for part, stated in labeled.items():
        if wrong := [row for row, value in enumerate(stated) if _negative(value)]:
            raise UserError(
                f"{len(wrong):,} of {len(stated):,} images of the {part} split of {where} have no class: {column!r} is "
                f"{stated[wrong[0]]} in row {wrong[0]}, and classes are numbered from 0. Leave such rows out."
            )


def _natural(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value
