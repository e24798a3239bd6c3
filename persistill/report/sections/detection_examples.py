"""Test images with their true and their detected boxes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.data_uri import inlined_image
from persistill.report.detections import LEAST_SCORE, StoredDetections, stored_detections
from persistill.report.example_images import standing
from persistill.report.figure import Section
from persistill.report.predictions import arrays
from persistill.utils.class_colors import class_colors
from persistill.utils.units import counted

_MOST = 20
"""Boxes of a network that are drawn in an image, those with the highest scores; or twice as many as there are objects,
where that is more. A detector that is sure of too much would hide the image."""
_LEGIBLE = 8
"""Boxes in an image, up to which each has its name beside it; with more, names would hide what they name."""


class Box(NamedTuple):
    """A box in an image.

    Attributes:
        x: left edge in pixels of the image.
        y: upper edge.
        width: in pixels.
        height: likewise.
        color: of its class.
        outline: black beneath light colors, white beneath dark ones.
        name: its class, and its score if it was detected.
        dashed: whether it is wrong, or does not count.
    """

    x: float
    y: float
    width: float
    height: float
    color: str
    outline: str
    name: str
    dashed: bool


class Panel(NamedTuple):
    """An image with the boxes of one network, or the true ones.

    Attributes:
        title: whose boxes they are.
        said: what is right and wrong among them.
        boxes: with the best score on top.
        named: whether names are written beside the boxes.
    """

    title: str
    said: str
    boxes: tuple[Box, ...]
    named: bool


class Row(NamedTuple):
    """One test image.

    Attributes:
        number: its row among the test images.
        note: why it is shown.
        source: its data URI.
        width: in pixels, in which the boxes are.
        height: likewise.
        panels: the true boxes, and those of networks.
    """

    number: int
    note: str
    source: str
    width: int
    height: int
    panels: tuple[Panel, ...]


def detection_examples(comparison: Comparison) -> Section | str:
    """Images with the true boxes, and those of teachers and students side by side, in the colors of the classes."""
    shown = (*(teacher for teacher in comparison.teachers if teacher.runs), *standing(comparison))
    if not any(arm.runs for arm in comparison.arms):
        return "Detected boxes: no run of this comparison is complete."
    colors = [_color(rgb) for rgb in class_colors(len(comparison.classes)).tolist()]
    classes = _Classes(comparison.classes, colors)
    try:
        kept = arrays(comparison.folder / "images.npz")
        found = {arm.label: stored_detections(arm.runs[0].evaluation) for arm in shown}
        order = [(int(place), "hardest") for place in kept["hardest"]] + [(int(place), "") for place in kept["others"]]
        rows = [_row(classes, kept, found, place, note) for place, note in order]
    except (UserError, KeyError, IndexError) as error:
        return f"Detected boxes: {error}"
    return Section(
        name="detected-boxes",
        title="Detected boxes",
        text=(
            "Test images with the true boxes, and with those that the teachers and, of the first and the exported arm, "
            f"the students of the first seed give with a score of {LEAST_SCORE:g} or more. Wrong detections, and "
            "objects that do not count, are dashed; right ones overlap an object of their class by 0.5 or more. The "
            "hardest images, on which students are right least often and miss most, stand first; the others are evenly "
            f"spaced. Class and score are shown where the pointer rests on a box, and beside it where there are "
            f"{_LEGIBLE} or fewer. Of more than {_MOST} detections, and than twice the objects, those with the highest "
            "scores are drawn. Test images are numbered from 0."
        ),
        template="detection_examples.html",
        content={
            "rows": rows,
            "legend": [(name, color) for name, (color, _) in zip(comparison.classes, colors, strict=True)],
        },
    )


def _color(rgb: Sequence[int]) -> tuple[str, str]:
    """A color, and that of the outline by which it stands off from any image."""
    red, green, blue = rgb
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 127
    return f"#{red:02x}{green:02x}{blue:02x}", "#000000" if light else "#ffffff"


class _Classes(NamedTuple):
    """Names and colors of the classes."""

    names: Sequence[str]
    colors: Sequence[tuple[str, str]]

    def boxes(
        self, corners: NDArray[np.floating], labels: NDArray[np.int64], said: Sequence[str], right: NDArray[np.bool_]
    ) -> tuple[Box, ...]:
        """Boxes (n, 4) in pixels of the image that is shown, with something behind the name of each class."""
        found = []
        for (x1, y1, x2, y2), label, more, solid in zip(corners.round(1).tolist(), labels, said, right, strict=True):
            color, outline = self.colors[label]
            size = round(x2 - x1, 1), round(y2 - y1, 1)
            found.append(Box(x1, y1, *size, color, outline, f"{self.names[label]}{more}", dashed=not solid))
        return tuple(found)


def _row(
    classes: _Classes, kept: dict[str, NDArray[Any]], found: dict[str, StoredDetections], place: int, note: str
) -> Row:
    number, pixels = int(kept["rows"][place]), kept["images"][place]
    height, width = pixels.shape[1:]
    scale = np.tile((width, height) / kept["size"][::-1], 2)
    truth = next(iter(found.values()))
    own = truth.object_image == number
    counts = truth.counted[own]
    objects, ignored = int(counts.sum()), int((~counts).sum())
    said = counted(objects, "object")
    if ignored:
        said += f", {ignored} that {'does' if ignored == 1 else 'do'} not count"
    behind = ["" if of else ", does not count" for of in counts]
    panels = [
        _panel("truth", said, classes.boxes(scale * truth.object_boxes[own], truth.object_labels[own], behind, counts))
    ]
    for label, of in found.items():
        shown = (of.image == number) & (of.scores >= LEAST_SCORE)
        right, wrong = of.right[shown], int(of.wrong[shown].sum())
        said = f"{right.sum()} right, {wrong} wrong, {objects - right.sum()} missed"
        scores = [f" {score:.2f}" for score in of.scores[shown]]
        boxes = classes.boxes(scale * of.boxes[shown], of.labels[shown], scores, right)[: max(_MOST, 2 * objects)]
        panels.append(_panel(label, said, boxes[::-1]))
    return Row(number, note, inlined_image(pixels, "").source, width, height, tuple(panels))


def _panel(title: str, said: str, boxes: tuple[Box, ...]) -> Panel:
    return Panel(title, said, boxes, named=len(boxes) <= _LEGIBLE)
