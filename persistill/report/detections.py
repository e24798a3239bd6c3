"""What a detector found in every test image, and what can be counted from it."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.predictions import Reliability, arrays, reliability_bins

LEAST_SCORE = 0.3
"""Detections with a lower score are neither shown nor counted as errors: detectors name hundreds with scores near 0."""
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class StoredDetections:
    """Detections and objects of the test images.

    Attributes:
        index: (N,) positions of the images in their split.
        image: (n,) row of each detection's image; sorted by it, and within an image by falling score.
        boxes: (n, 4) x1, y1, x2, y2 in pixels of the image as networks see it.
        scores: (n,) in [0, 1].
        labels: (n,) class numbers.
        right: (n,) whether a detection is right at an intersection over union of 0.5.
        wrong: (n,) whether it is wrong; one that is neither does not count.
        object_image: (m,) row of each object's image.
        object_boxes: (m, 4).
        object_labels: (m,).
        object_difficult: (m,) as Pascal VOC marks them.
        object_crowd: (m,) as COCO marks them.
    """

    index: NDArray[np.int64]
    image: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    object_image: NDArray[np.int64]
    object_boxes: NDArray[np.float32]
    object_labels: NDArray[np.int64]
    object_difficult: NDArray[np.bool_]
    object_crowd: NDArray[np.bool_]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(m,) objects that count: neither difficult nor a crowd."""
        return ~(self.object_difficult | self.object_crowd)


def stored_detections(evaluation: Path) -> StoredDetections:
    """What an evaluation's folder holds.

    Raises:
        UserError: if it is missing or damaged.
    """
    path = evaluation / "detections.npz"
    stored = arrays(path)
    names = [field.name for field in fields(StoredDetections)]
    if missing := [name for name in names if name not in stored]:
        raise UserError(f"{path} does not hold {missing[0]!r}. Move its folder away and run the recipe again.")
    for some in (names[1:7], names[7:]):
        if len({len(stored[name]) for name in some}) > 1:
            raise UserError(f"{path} does not hold one entry for each detection and object.")
    return StoredDetections(**{name: stored[name] for name in names})


def precision_by_recall(found: StoredDetections, label: int) -> NDArray[np.float64]:
    """(101,) precision of a class at recalls from 0 to 1, at an intersection over union of 0.5, whose mean is its AP50.

    At each recall the largest precision that is reached there or at a higher one, 0 where it is not reached; NaN if no
    object counts. Images are taken together, detections in the order of their scores, as COCO does.
    """
    total = int((found.counted & (found.object_labels == label)).sum())
    if not total:
        return np.full(len(_RECALLS), np.nan)
    own = found.labels == label
    order = np.argsort(-found.scores[own], kind="stable")
    right, wrong = (of[own][order].cumsum() for of in (found.right, found.wrong))
    precision = right / (right + wrong + np.spacing(1))  # 0 where nothing counted yet
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(right / total, _RECALLS, side="left")
    reached = places < len(best)
    curve = np.zeros(len(_RECALLS))
    curve[reached] = best[places[reached]]
    return curve


def score_reliability(found: StoredDetections, bins: int) -> Reliability:
    """Scores against the share of right detections, of those that count and have a score of ``LEAST_SCORE`` or more."""
    counted = (found.right | found.wrong) & (found.scores >= LEAST_SCORE)
    return reliability_bins(found.scores[counted].astype(np.float64), found.right[counted], bins)
