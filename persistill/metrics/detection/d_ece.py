"""Calibration of detections: whether a score is the share of detections of that score that are right."""

import numpy as np
import torch

from persistill.errors import UserError
from persistill.metrics.calibration import binned_gaps, equal_width_edges
from persistill.metrics.detection.matching import THRESHOLDS, DetectionMatches


def d_ece(matches: DetectionMatches, threshold: float = 0.5, min_score: float = 0.3, bins: int = 15) -> float:
    """Detection expected calibration error, by confidence (Kueppers et al. 2020, arXiv 2004.13546).

        D-ECE = sum_m |B_m| / N * |precision(B_m) - mean score(B_m)|

    over bins of equal width, closed on the right, as of ``ece``. Detections that are neither right nor wrong do not
    count.

    Args:
        matches: of all images.
        threshold: intersection over union from which on a detection may be right, one of ``THRESHOLDS``.
        min_score: detections with a lower score do not count. Detectors name hundreds of boxes with scores near 0,
            beside which all others would weigh nothing; 0.3 is the authors'.
        bins: M.

    Returns:
        A fraction in [0, 1]; NaN where no detection counts.

    Raises:
        UserError: if the threshold is none of ``THRESHOLDS``, or there is no bin.
    """
    if threshold not in THRESHOLDS or bins < 1:
        raise UserError(
            f"the threshold must be one of {', '.join(map(str, THRESHOLDS))}, and bins 1 or more; {threshold} and "
            f"{bins} were given."
        )
    row = THRESHOLDS.index(threshold)
    scores, right = [], []
    for one in (areas[0] for areas in matches.classes):
        counted = (one.right[row] | one.wrong[row]) & (one.scores >= min_score)
        scores.append(one.scores[counted])
        right.append(one.right[row][counted])
    confidence, hit = torch.from_numpy(np.concatenate(scores)), torch.from_numpy(np.concatenate(right))
    if not len(confidence):
        return float("nan")
    return binned_gaps(confidence, hit, equal_width_edges(bins, confidence), bins) / len(confidence)
