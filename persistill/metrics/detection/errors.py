"""What is wrong with detections, and how often: kinds of errors."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from persistill.metrics.detection.matching import IntArray
from persistill.structures import Detections, Objects

KINDS = ("right", "misplaced", "confused", "repeated", "background", "missed")
"""What ``error_counts`` counts, in its order."""


def error_counts(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    min_score: float = 0.3,
    threshold: float = 0.5,
    least: float = 0.1,
) -> IntArray:
    """Count what detections are, and which objects are missed, image by image (after Bolya et al. 2020, TIDE).

    Detections take objects in the order of their scores. Each is the first of these that fits:

    * "right": it overlaps a free object of its class by ``threshold`` or more.
    * neither right nor wrong, and not counted: it overlaps a difficult object or a crowd of its class so.
    * "repeated": it overlaps an object of its class so that was found before.
    * "misplaced": it overlaps an object of its class by ``least`` or more.
    * "confused": it overlaps an object of another class by ``threshold`` or more.
    * "background": none of these.

    An object is "missed" if no detection is right about it, and none misplaced or confused by it.

    Args:
        detections: of each image.
        objects: of each image.
        min_score: detections with a lower score do not count.
        threshold: intersection over union from which on a detection may be right.
        least: intersection over union from which on a detection means an object.

    Returns:
        (N, 6) in the order of ``KINDS``.
    """
    from torchvision.ops import box_iou  # noqa: PLC0415  slow to import

    counts = np.zeros((len(objects), len(KINDS)), dtype=np.int64)
    for row, answer, wanted in zip(counts, detections, objects, strict=True):
        found, truth = answer.cpu(), wanted.cpu()
        kept = found.scores >= min_score
        order = found.scores[kept].argsort(descending=True, stable=True)
        boxes, labels = found.boxes[kept][order], found.labels[kept][order]
        excused, taken = truth.difficult | truth.crowd, torch.zeros(len(truth.labels), dtype=torch.bool)
        meant = taken.clone()
        overlaps = box_iou(boxes.double(), truth.boxes.double())
        for overlap, label in zip(overlaps, labels, strict=True):
            same = truth.labels == label
            kind, target = _kind(overlap, same, excused, taken, threshold, least)
            if kind is None:
                continue
            row[KINDS.index(kind)] += 1
            if kind == "right":
                taken[target] = True
            elif kind in ("misplaced", "confused"):
                meant[target] = True
        row[KINDS.index("missed")] = int((~taken & ~meant & ~excused).sum())
    return counts


def _kind(
    overlap: Tensor, same: Tensor, excused: Tensor, taken: Tensor, threshold: float, least: float
) -> tuple[str | None, int]:
    """What a detection is, None where it does not count; and the object that it means."""
    candidates = (
        ("right", same & ~excused & ~taken, threshold),
        (None, same & excused, threshold),
        ("repeated", same & taken, threshold),
        ("misplaced", same & ~excused, least),
        ("confused", ~same & ~excused, threshold),
    )
    for kind, among, needed in candidates:
        best = overlap.where(among, -1.0)
        if len(best) and float(best.max()) >= needed:
            return kind, int(best.argmax())
    return "background", -1
