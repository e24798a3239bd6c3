"""Batch normalization over the images of all ranks, whatever modules it is done by.

torch's own SyncBatchNorm works on GPUs alone, and takes the place of modules, those of other libraries excepted. Here
the function that all of them call is replaced for a while, which works on every device and changes no network.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from persistill.ranks import Ranks

_SIGNATURE = inspect.signature(F.batch_norm)


class SynchronizedNorm(TorchFunctionMode):
    """Inside the block, batch normalization in training mode is by mean and variance of all ranks' images.

    Args:
        ranks: all of which must be inside such a block, and ask the same network.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by torch for every function of its."""
        if func is F.batch_norm:
            given = _SIGNATURE.bind(*args, **(kwargs or {}))
            given.apply_defaults()
            if given.arguments["training"]:
                return _normalized(self._ranks, **given.arguments)
        return func(*args, **(kwargs or {}))


def _normalized(
    ranks: Ranks,
    input: Tensor,  # noqa: A002 - torch's name
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
    **_: Any,
) -> Tensor:
    # As torch's: in single precision at least, and back in that of the input.
    values = input if input.dtype == torch.float64 else input.float()
    axes = [axis for axis in range(values.ndim) if axis != 1]
    own_var, own_mean = torch.var_mean(values, axes, correction=0)
    own_count = torch.full_like(own_mean, values.numel() / values.shape[1])
    means, variances, counts = ranks.exchange(torch.stack([own_mean, own_var, own_count])).unbind(1)
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    variance = (counts * (variances + (means - mean).square())).sum(0) / count
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    shape = [1, -1] + [1] * (values.ndim - 2)
    scale = (variance + eps).rsqrt() if weight is None else (variance + eps).rsqrt() * weight
    normalized = (values - mean.view(shape)) * scale.view(shape)
    return (normalized if bias is None else normalized + bias.view(shape)).to(input.dtype)
