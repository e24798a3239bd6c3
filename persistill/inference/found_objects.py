"""Objects in an image, of what the file of a detector answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.utils.non_maximum_suppression import FoundBoxes, suppress

THRESHOLD = 0.3
"""Least score of an object that is told, where nobody says one."""
_PLACES = 2
"""Outputs of a file that answers for all places: boxes and scores."""


class FoundObject(NamedTuple):
    """An object that a detector found.

    Attributes:
        name: of its class.
        score: 0 to 1; it is no calibrated probability.
        box: x1, y1, x2, y2 in pixels from the upper left corner of the image, turned as its EXIF orientation says.
    """

    name: str
    score: float
    box: tuple[float, float, float, float]


def found_boxes(
    outputs: tuple[NDArray[Any], ...], num_classes: int, selection: Mapping[str, Any] | None, file: Path
) -> FoundBoxes:
    """What was found in one image, in pixels of the network's input.

    Args:
        outputs: of the file for one image: boxes (1, N, 4) and scores (1, N, K) of all places, or boxes (n, 4), scores
            (n,) and labels (n,) that are selected already.
        num_classes: K.
        selection: how those of all places are selected, as model.json says it.
        file: for errors.

    Raises:
        UserError: if they are something else, or not finite.
    """
    shapes = [output.shape for output in outputs]
    wrong = UserError(
        f"{file} answers with arrays of shape {', '.join(map(str, shapes))}, where the boxes and scores of objects of "
        f"{num_classes} classes belong: it was changed since it was written. Export the network again."
    )
    if not all(np.isfinite(output).all() for output in outputs):
        raise UserError(f"the answers of {file} are not finite numbers: its weights are damaged.")
    if len(outputs) == _PLACES and selection is not None:
        places = shapes[0][1:2]
        if shapes != [(1, *places, 4), (1, *places, num_classes)]:
            raise wrong
        chosen = (selection[name] for name in ("score_threshold", "iou_threshold", "most"))
        return suppress(outputs[0][0], outputs[1][0], *chosen)
    count = shapes[0][:1]
    if shapes != [(*count, 4), count, count]:
        raise wrong
    labels = outputs[-1]
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise wrong
    return FoundBoxes(*outputs)
