"""From boxes at all places of a detector to its detections, by NumPy alone."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class FoundBoxes(NamedTuple):
    """The objects in one image, the highest score first.

    Attributes:
        boxes: (n, 4), x1, y1, x2, y2 in pixels.
        scores: (n,) in [0, 1].
        labels: (n,) int64 class numbers from 0.
    """

    boxes: Floats
    scores: Floats
    labels: NDArray[np.int64]


def suppress(boxes: Floats, scores: Floats, score_threshold: float, iou_threshold: float, most: int) -> FoundBoxes:
    """Keep, of boxes of one class that overlap, the one with the highest score.

    Args:
        boxes: (N, 4) of all places of an image.
        scores: (N, K) of the classes.
        score_threshold: only boxes with a larger score count.
        iou_threshold: intersection over union up to which two boxes of a class are two objects.
        most: how many are kept at most.
    """
    places, labels = np.nonzero(scores > score_threshold)
    order = np.argsort(-scores[places, labels], kind="stable")
    places, labels = places[order], labels[order]
    candidates = boxes[places].astype(np.float64)
    areas = np.prod(candidates[:, 2:] - candidates[:, :2], axis=1)
    kept: list[int] = []
    free = np.ones(len(places), bool)
    for number in range(len(places)):
        if not free[number]:
            continue
        kept.append(number)
        if len(kept) == most:
            break
        rest = np.flatnonzero(free & (labels == labels[number]))
        corners = np.maximum(candidates[rest, :2], candidates[number, :2])
        sides = np.minimum(candidates[rest, 2:], candidates[number, 2:]) - corners
        shared = sides.clip(0).prod(1)
        # Written without a division: boxes may have no area.
        free[rest[shared > iou_threshold * (areas[rest] + areas[number] - shared)]] = False
    return FoundBoxes(boxes[places[kept]], scores[places[kept], labels[kept]], labels[kept].astype(np.int64))
