"""What a network answered for every test image, and what can be counted from it."""

import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError


class Predictions(NamedTuple):
    """Answers to the test images.

    Attributes:
        target: (N,) int64, true classes.
        logits: (N, K) float32.
    """

    target: NDArray[np.int64]
    logits: NDArray[np.float32]


class Reliability(NamedTuple):
    """Confidence against accuracy, in equal-width bins of confidence, low to high.

    Attributes:
        size: (bins,) int64, images whose confidence lies in (i / bins, (i + 1) / bins].
        confidence: (bins,) float64, their mean confidence; nan for an empty bin.
        accuracy: (bins,) float64, the share of them that is right; nan for an empty bin.
    """

    size: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an npz file.

    Raises:
        UserError: if it is missing or damaged.
    """
    try:
        # Opened here, because numpy leaves a damaged file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}). Move its folder away and run the recipe again.") from None


def predictions(evaluation: Path) -> Predictions:
    """The answers that an evaluation's folder holds.

    Raises:
        UserError: if they are missing or damaged.
    """
    path = evaluation / "predictions.npz"
    found = arrays(path)
    if not {"target", "logits"} <= set(found) or found["logits"].shape[:1] != found["target"].shape:
        raise UserError(f"{path} does not hold one row of logits for each target.")
    return Predictions(found["target"], found["logits"])


def confusion_matrix(target: NDArray[np.int64], logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Images counted by class.

    Args:
        target: (N,), classes from 0 to K - 1.
        logits: (N, K).

    Returns:
        (K, K): true class by predicted class.
    """
    classes = logits.shape[1]
    pairs = target * classes + logits.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def reliability(target: NDArray[np.int64], logits: NDArray[np.float32], bins: int) -> Reliability:
    """Confidence (the largest probability) against accuracy (Guo et al. 2017, section 2).

    Args:
        target: (N,).
        logits: (N, K); rows that are not finite are left out.
        bins: number of equal-width bins.
    """
    finite = np.isfinite(logits).all(axis=1)
    target, wide = target[finite], logits[finite].astype(np.float64)
    confidence = 1 / np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1)
    return reliability_bins(confidence, wide.argmax(axis=1) == target, bins)


def reliability_bins(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int) -> Reliability:
    """As ``reliability``, of any answers with a confidence.

    Args:
        confidence: (n,) in [0, 1].
        right: (n,).
        bins: number of equal-width bins.
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = np.where(count > 0, count, np.nan)
    return Reliability(
        size=count,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / filled,
        accuracy=np.bincount(place, weights=right, minlength=bins) / filled,
    )
