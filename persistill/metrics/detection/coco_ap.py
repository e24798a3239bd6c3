"""Average precision and recall by the protocol of COCO (Lin et al. 2014, arXiv 1405.0312)."""

import numpy as np

from persistill.metrics.detection.matching import (
    AREAS,
    THRESHOLDS,
    ClassMatches,
    DetectionMatches,
    FloatArray,
    IntArray,
)

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which precision is read."""
_FEW = (1, 10, 100)


def class_ap(matches: DetectionMatches, area: str = "all", weights: IntArray | None = None) -> FloatArray:
    """Average precision of each class at each threshold.

    Of the detections of a class in the order of their scores, precision at a recall is the largest that is reached at
    this recall or a higher one; it is read at 101 recalls from 0 to 1, as 0 where a recall is not reached, and
    averaged.

    Args:
        matches: of all images.
        area: which objects count, one of ``AREAS``.
        weights: (N,) how often each image counts, in a draw of the bootstrap; None for once each.

    Returns:
        (K, T), fractions; NaN for classes of which there are no objects.
    """
    column = AREAS.index(area)
    return np.stack([_average_precision(one[column], weights) for one in matches.classes])


def class_recall(matches: DetectionMatches, most: int = 100, area: str = "all") -> FloatArray:
    """Recall of each class at each threshold, by the ``most`` detections of each image that have the highest scores.

    Args:
        matches: of all images.
        most: detections of a class in an image, at most 100.
        area: which objects count.

    Returns:
        (K, T), fractions; NaN for classes of which there are no objects.
    """
    column = AREAS.index(area)
    found = []
    for one in (several[column] for several in matches.classes):
        hits, total = (one.right & (one.rank < most)).sum(1), one.objects.sum()
        found.append(hits / total if total else np.full(len(THRESHOLDS), np.nan))
    return np.stack(found)


def coco_figures(matches: DetectionMatches) -> dict[str, float]:
    """The twelve figures of COCO, fractions; NaN where no object counts.

    "ap", "ap50", "ap75"; "ap_small", "ap_medium", "ap_large"; "ar1", "ar10", "ar100" (recalls by so many detections an
    image and class); "ar_small", "ar_medium", "ar_large". Means over the classes of which there are objects, and over
    the thresholds from 0.5 to 0.95 but for "ap50" and "ap75".
    """
    whole = class_ap(matches)
    figures = {
        "ap": _mean(whole),
        "ap50": _mean(whole[:, THRESHOLDS.index(0.5)]),
        "ap75": _mean(whole[:, THRESHOLDS.index(0.75)]),
    }
    figures |= {f"ap_{area}": _mean(class_ap(matches, area)) for area in AREAS[1:]}
    figures |= {f"ar{most}": _mean(class_recall(matches, most)) for most in _FEW}
    return figures | {f"ar_{area}": _mean(class_recall(matches, area=area)) for area in AREAS[1:]}


def mean_ap(matches: DetectionMatches, weights: IntArray | None = None) -> tuple[float, float]:
    """AP and AP50; see ``coco_figures``.

    Args:
        matches: of all images.
        weights: (N,) how often each image counts; None for once each.
    """
    found = class_ap(matches, weights=weights)
    return _mean(found), _mean(found[:, 0])


def _average_precision(matches: ClassMatches, weights: IntArray | None) -> FloatArray:
    """(T,) of one class."""
    objects, right, wrong = matches.objects, matches.right.astype(np.float64), matches.wrong.astype(np.float64)
    if weights is not None:
        objects = objects * weights
        right, wrong = right * weights[matches.image], wrong * weights[matches.image]
    total = objects.sum()
    if not total:
        return np.full(len(THRESHOLDS), np.nan)
    hits, misses = right.cumsum(1), wrong.cumsum(1)
    # eps as in pycocotools: where nothing counted yet, 0 / 0 is 0
    precision = hits / (hits + misses + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / total
    found = np.zeros(len(THRESHOLDS))
    for row in range(len(THRESHOLDS)):
        positions = np.searchsorted(recall[row], RECALLS, side="left")
        reached = positions < recall.shape[1]
        found[row] = best[row, positions[reached]].sum() / len(RECALLS)
    return found


def _mean(values: FloatArray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
