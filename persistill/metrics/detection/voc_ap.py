"""Average precision by the protocol of Pascal VOC (Everingham et al. 2010, "The PASCAL Visual Object Classes")."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from persistill.metrics.detection.matching import BoolArray, FloatArray
from persistill.structures import Detections, Objects

Method = Literal["area", "11-point"]


def voc_class_ap(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    num_classes: int,
    threshold: float = 0.5,
    method: Method = "area",
) -> FloatArray:
    """Average precision of each class as VOC measures it: "AP50" of its tables.

    Unlike COCO's, each detection answers for the object that it overlaps most, whether another detection found that
    before or not: the second one is wrong. Difficult objects make what overlaps them neither right nor wrong, each
    time; crowds count as difficult.

    Args:
        detections: of each image.
        objects: of each image.
        num_classes: K.
        threshold: intersection over union from which on a detection may be right.
        method: "area" under the precision that falls with recall, as of VOC 2010; "11-point" for the mean at the
            recalls 0, 0.1, ..., 1, as until then, VOC 2007 among them.

    Returns:
        (K,), fractions; NaN for classes of which there are no objects that count.
    """
    detections, objects = [one.cpu() for one in detections], [one.cpu() for one in objects]
    found = []
    for number in range(num_classes):
        scores, right, counted, total = _judge(detections, objects, number, threshold)
        order = np.argsort(-scores, kind="stable")
        hits = right[order][counted[order]].cumsum()
        recall = hits / max(total, 1)
        precision = hits / np.arange(1, len(hits) + 1)
        value = _eleven_points(recall, precision) if method == "11-point" else _area(recall, precision)
        found.append(value if total else np.nan)
    return np.array(found)


def _judge(
    detections: Sequence[Detections], objects: Sequence[Objects], number: int, threshold: float
) -> tuple[FloatArray, BoolArray, BoolArray, int]:
    """Scores of all detections of a class, whether they are right, whether they count, and the number of objects."""
    from torchvision.ops import box_iou  # noqa: PLC0415  slow to import

    scores, right, counted, total = [np.zeros(0)], [np.zeros(0, np.bool_)], [np.zeros(0, np.bool_)], 0
    for found, truth in zip(detections, objects, strict=True):
        mine, theirs = found.labels == number, truth.labels == number
        score, order = found.scores[mine].sort(descending=True, stable=True)
        boxes, wanted = found.boxes[mine][order], truth.boxes[theirs]
        excused = (truth.difficult | truth.crowd)[theirs]
        total += int((~excused).sum())
        scores.append(score.double().numpy())
        hit, counts = np.zeros(len(boxes), np.bool_), np.ones(len(boxes), np.bool_)
        if len(boxes) and len(wanted):
            overlap, nearest = box_iou(boxes.double(), wanted.double()).max(1)
            taken = torch.zeros(len(wanted), dtype=torch.bool)
            for row in (overlap >= threshold).nonzero().flatten().tolist():
                target = int(nearest[row])
                if excused[target]:
                    counts[row] = False
                elif not taken[target]:
                    hit[row] = taken[target] = True
        right.append(hit)
        counted.append(counts)
    return np.concatenate(scores), np.concatenate(right), np.concatenate(counted), total


def _area(recall: FloatArray, precision: FloatArray) -> float:
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())


def _eleven_points(recall: FloatArray, precision: FloatArray) -> float:
    # Recalls are quotients of counts: a tenth of them may lie below 0.1 by a rounding.
    return float(np.mean([precision[recall >= point - 1e-9].max(initial=0.0) for point in np.arange(11) / 10]))
