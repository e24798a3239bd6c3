"""Out-of-distribution detection: whether a network is less confident on images of another distribution."""

import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.metrics._checks import check_finite


def max_softmax(logits: Tensor) -> Tensor:
    """The largest probability, as a score of confidence (Hendrycks and Gimpel, ICLR 2017).

    Args:
        logits: (N, K).

    Returns:
        (N,) float64 in [1/K, 1].
    """
    return logits.double().softmax(1).amax(1)


def negative_energy(logits: Tensor) -> Tensor:
    """``log sum_k exp(logits_k)``: large for images like those of the training (Liu et al., NeurIPS 2020).

    Args:
        logits: (N, K).

    Returns:
        (N,) float64.
    """
    return logits.double().logsumexp(1)


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve: the probability that a score of an in-distribution image is larger, ties
    counting one half.

    Args:
        inside: (N,) scores that should be large.
        outside: (M,) scores that should be small.

    Returns:
        A fraction in [0, 1]; 1/2 for uninformative scores.

    Raises:
        UserError: if there are no scores on one side, or some are NaN.
    """
    if len(inside) == 0 or len(outside) == 0 or inside.isnan().any() or outside.isnan().any():
        raise UserError(
            "an AUROC needs scores from inside and from outside, and none of them NaN; "
            f"{len(inside)} and {len(outside)} were given."
        )
    ordered = outside.sort().values
    below, not_above = (torch.searchsorted(ordered, inside.contiguous(), right=right) for right in (False, True))
    return float((below + not_above).double().sum() / 2 / len(inside) / len(outside))


def ood_metrics(inside: Tensor, outside: Tensor) -> dict[str, float]:
    """Both scores' AUROC.

    Args:
        inside: (N, K) logits of test images.
        outside: (M, K) logits of out-of-distribution images.

    Returns:
        ``{"max_softmax": fraction, "energy": fraction}``.

    Raises:
        UserError: if logits are NaN or +inf.
    """
    for logits in (inside, outside):
        check_finite(logits)
    return {
        "max_softmax": auroc(max_softmax(inside), max_softmax(outside)),
        "energy": auroc(negative_energy(inside), negative_energy(outside)),
    }
