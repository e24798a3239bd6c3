"""Accuracy and proper scores as functions of logits and targets. Fractions and nats, never percentages."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.metrics._checks import check


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Share of images whose largest logit is that of the right class (top-1); the lower class wins a tie.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    check(logits, target)
    return float((logits.argmax(1) == target).double().mean())


def top_k(logits: Tensor, target: Tensor, k: int = 5) -> float:
    """Share of images whose right class is among the ``k`` with the largest logits; the lower class wins a tie.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.
        k: at least 1; where it is K or more, the result is 1.

    Returns:
        A fraction in [0, 1].

    Raises:
        UserError: if the shapes or the values make no sense together, or if k is less than 1.
    """
    check(logits, target)
    if k < 1:
        raise UserError(f"top-k accuracy needs a k of at least 1; {k} was given.")
    of_right = logits.gather(1, target.long()[:, None])
    before = torch.arange(logits.shape[1], device=logits.device) < target[:, None]
    ahead = (logits > of_right) | ((logits == of_right) & before)
    return float((ahead.sum(1) < k).double().mean())


def nll(logits: Tensor, target: Tensor) -> float:
    """Mean negative log-likelihood of the right class, ``-mean_i log softmax(logits_i)[target_i]``, in nats.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        A number >= 0; log K for a uniform prediction.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    check(logits, target)
    return float(F.cross_entropy(logits.double(), target.long()))


def brier(logits: Tensor, target: Tensor) -> float:
    """Brier score: squared distance of the probabilities from the right answer, summed over classes.

        mean_i sum_k (softmax(logits_i)[k] - [k = target_i])^2

    (Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.)

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Returns:
        A number in [0, 2]; 1 - 1/K for a uniform prediction.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    check(logits, target)
    right = F.one_hot(target.long(), logits.shape[1])
    return float((logits.double().softmax(1) - right).square().sum(1).mean())


class ClassScores(NamedTuple):
    """How well each class is recognized, one entry a class; NaN where a figure is not defined.

    Attributes:
        precision: share of the images given this class that are of it; NaN where none is given it.
        recall: share of the images of this class that are given it; NaN where there are none.
        f1: harmonic mean of the two, 2 right / (given + there are); NaN where there are neither.
        support: images of this class.
    """

    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes of which there are images, a fraction."""
        return float(np.nanmean(self.recall))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes of which there are images, a fraction."""
        return float(np.mean([f1 for f1, count in zip(self.f1, self.support, strict=True) if count]))


def class_scores(logits: Tensor, target: Tensor) -> ClassScores:
    """Precision, recall, F1 and number of images of each class, by the largest logit.

    Args:
        logits: (N, K).
        target: (N,) class numbers from 0 to K - 1.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
    from sklearn.metrics import precision_recall_fscore_support  # noqa: PLC0415 - slow to import

    check(logits, target)
    found = precision_recall_fscore_support(
        target.cpu().numpy(),
        logits.argmax(1).cpu().numpy(),
        labels=np.arange(logits.shape[1]),
        zero_division=np.nan,
    )
    precision, recall, f1, support = (np.asarray(part).tolist() for part in found)
    # Where nothing is right, scikit-learn counts in floats.
    return ClassScores(tuple(precision), tuple(recall), tuple(f1), tuple(map(int, support)))
