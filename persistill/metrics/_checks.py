"""What every metric asks of the logits and targets that it is given."""

import torch
from torch import Tensor

from persistill.errors import UserError


def check(logits: Tensor, target: Tensor) -> None:
    """See that a metric can be computed.

    Args:
        logits: (N, K); -inf is the logit of a class that is ruled out, and has a meaning.
        target: (N,) class numbers.

    Raises:
        UserError: if the shapes or the values make no sense together.
    """
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
    check_finite(logits)


def check_finite(logits: Tensor) -> None:
    """See that logits (N, K) are numbers or -inf.

    Raises:
        UserError: if not; training that diverged is the usual cause.
    """
    broken = (logits.isnan() | logits.isposinf()).any(1)
    if broken.any():
        raise UserError(
            f"logits hold NaN or +inf for {int(broken.sum())} of {len(logits)} images, the first at row "
            f"{int(broken.nonzero()[0])}. Did the training of this network diverge? Look at its log.jsonl."
        )
