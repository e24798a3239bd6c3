"""What `persistill predict` says of the objects that a detector finds."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persistill.cli.console import console
from persistill.cli.printable import printable
from persistill.inference import ImageObjects, Predictor, UnreadableImage
from persistill.utils.atomic_io import atomic

_COLUMNS = ("file", "class", "score", "x1", "y1", "x2", "y2")


def print_objects(answered: Sequence[ImageObjects]) -> None:
    """A line an object; never wrapped, so that other programs can read it."""
    lines = [
        [printable(image.file), one.name, f"{one.score:.1%}", *(f"{corner:.1f}" for corner in one.box)]
        for image in answered
        for one in image.objects
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    by_file: dict[str, list[str]] = {printable(image.file): [] for image in answered}
    for line in lines:
        texts = [text.ljust(width) for text, width in zip(line[:2], widths, strict=False)]
        numbers = [text.rjust(width) for text, width in zip(line[2:], widths[2:], strict=True)]
        by_file[line[0]].append("  ".join((*texts, *numbers)))
    for file, several in by_file.items():
        for text in several or [f"{file}  no object"]:
            console.print(text, soft_wrap=True)


def write_csv(path: Path, answered: Sequence[ImageObjects]) -> None:
    """A row an object; an image without objects has a row with its name alone."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for image in answered:
            rows = [(image.file, one.name, one.score, *one.box) for one in image.objects]
            writer.writerows(rows or [(image.file, *[""] * (len(_COLUMNS) - 1))])


def print_json(
    student: Predictor, threshold: float, answered: Sequence[ImageObjects], unread: Sequence[UnreadableImage]
) -> None:
    """Everything as JSON."""
    said: dict[str, Any] = {
        "model": str(student.file),
        "threshold": threshold,
        "images": [
            {
                "file": str(image.file),
                "width": image.size[0],
                "height": image.size[1],
                "objects": [{"class": one.name, "score": one.score, "box": list(one.box)} for one in image.objects],
            }
            for image in answered
        ],
        "unreadable": [{"file": str(file), "why": why} for file, why in unread],
    }
    console.print(json.dumps(said, indent=2), soft_wrap=True)
