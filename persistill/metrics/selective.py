"""Selective prediction: the error on the images with the largest confidence."""

import torch
from torch import Tensor

from persistill.metrics._checks import check


def risk_coverage(logits: Tensor, target: Tensor) -> Tensor:
    """Share of wrong answers among the n images of largest confidence, for every n.

    A network may abstain. If it classifies only the share n / N of images (the coverage) whose largest
    probability is largest, this is its error there, the selective risk (Geifman and El-Yaniv, "Selective
    classification for deep neural networks", NeurIPS 2017). Among images of equal confidence the order is open; the
    value is the mean over all orders.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        (N,) float64 fractions, at coverages 1/N, 2/N, ..., 1; the last is 1 - accuracy.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    check(logits, target)
    confidence, answer = logits.double().softmax(1).max(1)
    group: Tensor
    size: Tensor
    _, group, size = torch.unique(-confidence, return_inverse=True, return_counts=True)
    wrong = (answer != target).double()
    share = torch.zeros(len(size), dtype=torch.float64, device=logits.device).index_add_(0, group, wrong) / size
    errors = share.repeat_interleave(size).cumsum(0)
    return errors / torch.arange(1, len(errors) + 1, device=logits.device)


def aurc(logits: Tensor, target: Tensor) -> float:
    """Area under the risk-coverage curve: the mean of ``risk_coverage`` over all coverages 1/N, 2/N, ..., 1.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        A fraction in [0, 1], smaller is better. A network with uninformative confidence has its error rate e; one
        whose errors are its least confident predictions has the least, e + (1 - e) log(1 - e) or about e^2 / 2.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    return float(risk_coverage(logits, target).mean())
