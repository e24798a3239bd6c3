"""Accuracy and calibration as functions of logits and targets. Fractions and nats, never percentages."""

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.errors import UserError


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Share of pictures whose largest logit is that of the right class (top-1); the lower class wins a tie.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    _check(logits, target)
    return float((logits.argmax(1) == target).double().mean())


def nll(logits: Tensor, target: Tensor) -> float:
    """Mean negative log-likelihood of the right class, ``-mean_i log softmax(logits_i)[target_i]``, in nats.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        A number >= 0; log K for a network that knows nothing.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    _check(logits, target)
    return float(F.cross_entropy(logits.double(), target.long()))


def ece(logits: Tensor, target: Tensor, bins: int = 15) -> float:
    """Expected calibration error: top-label confidence, equal-width bins, absolute differences.

    With c_i = max_k softmax(logits_i)[k] and bin B_m holding the pictures with (m - 1) / M < c_i <= m / M,

        ECE = sum_m |B_m| / N * |accuracy(B_m) - mean confidence(B_m)|

    (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3). Softmax and sums are
    computed in float64. torchmetrics is not called because its bins are open on the right, so that
    confidences that round to 1 in float32 form a bin of their own, and because it takes logits that all lie
    in [0, 1] for probabilities.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.
        bins: M.

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes or the values make no sense together, or if there is no bin.
    """
    _check(logits, target)
    if bins < 1:
        raise UserError(f"the calibration error needs at least one bin; bins={bins} was given.")
    confidence, answer = logits.double().softmax(1).max(1)
    edges = torch.arange(1, bins, dtype=torch.float64, device=logits.device) / bins
    place = torch.bucketize(confidence, edges)
    # In each bin, |B| * (accuracy - confidence) is the sum of (right - confidence).
    gap = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    gap.index_add_(0, place, (answer == target).double() - confidence)
    return float(gap.abs().sum() / len(logits))


def _check(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != 2 or target.ndim != 1 or len(logits) != len(target):
        raise UserError(
            "logits must be (N, K) and target (N,), of the same N; "
            f"shapes {tuple(logits.shape)} and {tuple(target.shape)} were given."
        )
    if logits.numel() == 0:
        raise UserError(f"there is nothing to measure: logits of shape {tuple(logits.shape)} are empty.")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise UserError(f"target must hold class numbers, as integers; its type is {target.dtype}.")
    classes = logits.shape[1]
    wrong = (target < 0) | (target >= classes)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise UserError(
            f"target must hold classes from 0 to {classes - 1}, one for each column of the logits; "
            f"target[{first}] is {int(target[first])}."
        )
    # -inf is the logit of a class that is ruled out, and has a meaning.
    broken = (logits.isnan() | logits.isposinf()).any(1)
    if broken.any():
        raise UserError(
            f"logits hold NaN or +inf for {int(broken.sum())} of {len(logits)} pictures, the first at row "
            f"{int(broken.nonzero()[0])}. Did the training of this network diverge? Look at its log.jsonl."
        )
