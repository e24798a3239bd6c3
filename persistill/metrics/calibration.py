"""Calibration errors, and the temperature that reduces them."""

import math

import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.metrics._checks import check

TEMPERATURES = (0.05, 20.0)
"""The range in which a temperature is searched."""


def ece(logits: Tensor, target: Tensor, bins: int = 15) -> float:
    """Expected calibration error: top-label confidence, equal-width bins, absolute differences.

    With c_i = max_k softmax(logits_i)[k] and bin B_m holding the images with (m - 1) / M < c_i <= m / M,

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
    confidence, right = _confidence(logits, target, bins)
    return binned_gaps(confidence, right, equal_width_edges(bins, confidence), bins) / len(logits)


def ece_equal_mass(logits: Tensor, target: Tensor, bins: int = 15) -> float:
    """Expected calibration error in bins that hold equally many images.

    As ``ece``, but the bins end at the confidences of ranks N / M, 2 N / M, ... rounded up (Nguyen and O'Connor,
    "Posterior calibration and exploratory analysis for natural language processing models", EMNLP 2015). A network
    that is mostly certain has most of its images in one bin of equal width; here they are in different bins. Equal
    confidences share a bin, so that the order of the images does not matter.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.
        bins: M.

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes or the values make no sense together, or if there is no bin.
    """
    confidence, right = _confidence(logits, target, bins)
    ranks = (torch.arange(1, bins, device=logits.device) * len(logits) + bins - 1) // bins
    return binned_gaps(confidence, right, confidence.sort().values[ranks - 1], bins) / len(logits)


def classwise_ece(logits: Tensor, target: Tensor, bins: int = 15) -> float:
    """Calibration error of all probabilities, not of the largest alone: the mean over classes of

        sum_m |B_mk| / N * |share of class k in B_mk - mean of softmax(logits)[k] in B_mk|

    where bin B_mk holds the images with (m - 1) / M < softmax(logits_i)[k] <= m / M (Kull et al., "Beyond
    temperature scaling", NeurIPS 2019, section 2). It is smaller than ``ece`` by about the number of classes, because
    most probabilities are near 0.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.
        bins: M.

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes or the values make no sense together, or if there is no bin.
    """
    _check_bins(bins)
    check(logits, target)
    shares = logits.double().softmax(1)
    edges = equal_width_edges(bins, shares)
    classes = range(shares.shape[1])
    gaps = (binned_gaps(shares[:, number].contiguous(), target == number, edges, bins) for number in classes)
    return math.fsum(gaps) / len(logits) / len(classes)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature T at which ``softmax(logits / T)`` has the least negative log-likelihood (Guo et al. 2017, 4.2).

    Fit it on validation images, apply it to others: ``logits / T`` gives the same classes with other confidence. The
    likelihood is convex in 1/T, and its slope there is ``mean_i (sum_k p_ik z_ik - z_i,target)``; the root is found by
    halving an interval of log T until it is as narrow as float64 allows.

    Args:
        logits: (N, K), of images that the network was not trained on.
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        T between 0.05 and 20, the end that is nearer to the minimum if it lies outside. If every answer is right (or
        all logits of each image are equal) the likelihood has no minimum and nothing can be learned: exactly 1.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    check(logits, target)
    wide = logits.double()
    largest = wide.max(1, keepdim=True).values
    behind = wide - largest  # -inf for a class that is ruled out
    of_right = behind.gather(1, target.long()[:, None])
    if (of_right == 0).all():
        return 1.0

    def slope(log_temperature: float) -> float:
        shares = (behind / math.exp(log_temperature)).softmax(1)
        expected = torch.where(shares > 0, shares * behind, 0).sum(1, keepdim=True)
        return float((expected - of_right).mean())

    low, high = (math.log(bound) for bound in TEMPERATURES)
    while low < (middle := (low + high) / 2) < high:
        # The temperature is too high where more confidence in the right class would help: the slope in 1/T is negative.
        low, high = (low, middle) if slope(middle) < 0 else (middle, high)
    return math.exp(middle)


def _confidence(logits: Tensor, target: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    _check_bins(bins)
    check(logits, target)
    confidence, answer = logits.double().softmax(1).max(1)
    return confidence, answer == target


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise UserError(f"the calibration error needs at least one bin; bins={bins} was given.")


def equal_width_edges(bins: int, like: Tensor) -> Tensor:
    """(bins - 1,) float64, the inner edges of bins of equal width between 0 and 1, on the device of ``like``."""
    return torch.arange(1, bins, dtype=torch.float64, device=like.device) / bins


def binned_gaps(confidence: Tensor, hit: Tensor, edges: Tensor, bins: int) -> float:
    """Sum over bins, closed on the right, of |hits - confidence|: |B| times the difference of the means."""
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, torch.bucketize(confidence, edges), hit.double() - confidence)
    return float(gap.abs().sum())
