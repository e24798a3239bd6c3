"""What is kept of each image of a segmentation, so that every figure can be told of any choice of images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill import metrics
from persistill.structures import IGNORE_INDEX


def image_counts(logits: Tensor, target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Numerators and denominators of each image.

    Args:
        logits: (B, K, H, W).
        target: (B, H, W) classes, ``IGNORE_INDEX`` where a pixel has none.

    Returns:
        "miou": (B, K, 2) int64, pixels in intersection and union of each class; "pixel_accuracy": (B, 1, 2) int64,
        pixels that are right and pixels that count; "nll": (B, 1, 2) float64, the sum of their negative
        log-likelihoods, and their number. And the confusion counts (B, K, K) that they were made of.
    """
    counts = metrics.confusion_counts(logits.argmax(1), target, logits.shape[1])
    both = counts.diagonal(dim1=-2, dim2=-1)
    union = counts.sum(-1) + counts.sum(-2) - both
    pixels = counts.sum((-2, -1))
    surprise = F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")
    found = {
        "miou": torch.stack([both, union], -1),
        "pixel_accuracy": torch.stack([both.sum(-1), pixels], -1)[:, None],
        "nll": torch.stack([surprise.double().sum((1, 2)), pixels.double()], -1)[:, None],
    }
    return found, counts


def ratio(parts: Tensor) -> float:
    """A figure of images together: the mean over classes of summed numerators through summed denominators.

    Args:
        parts: (N, K, 2). Classes whose denominator is 0 in all images are left out.

    Returns:
        NaN where nothing was counted.
    """
    numerator, denominator = parts.detach().double().sum(0).unbind(-1)
    return float((numerator / denominator)[denominator > 0].mean())


def figures(observed: Mapping[str, Any]) -> dict[str, float]:
    """All figures of ``image_counts``, of all images together."""
    return {name: ratio(observed[name]) for name in ("miou", "pixel_accuracy", "nll")}
