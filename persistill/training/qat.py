"""Weights and activations rounded in training as the int8 file will round them, so that a network gets used to it.

The rounding is that of ``export/int8_file.py``: weights of convolutions and linear layers to -64 ... 64 with a scale
for each output channel and zero at zero; what goes into these layers to -128 ... 127 with a scale and a zero point for
the whole tensor. The gradient passes through the rounding as if it were not there, and stops where a value was cut off
(Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference").

A file has batch norms folded into the convolution before them, and weights are rounded here as they are. That comes to
the same: folding multiplies all weights of an output channel by one number, and their scale with them. Not imitated are
the rounding of sums in residual blocks, and biases of 32 bits.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from persistill.errors import UserError

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""Layers that compute in 8 bits; the first axis of their weights is the output channel."""
LOWEST, HIGHEST = -128, 127
"""Steps of activations."""
HIGHEST_WEIGHT = 64
"""Steps of weights, on both sides of 0: in 7 bits, sums of products stay exact on every processor."""
MOMENTUM = 0.1
"""Share of a batch in the running ranges, that of torch's batch norms."""

_CHILD = "fake_quantized_input"
_TINY = torch.finfo(torch.float32).tiny


@contextlib.contextmanager
def fake_quantized(network: nn.Module) -> Iterator[None]:
    """Let a network round its weights and activations to 8 bits, for as long as the block lasts.

    Ranges of activations are running means of the extremes of each batch, kept in buffers, so that a checkpoint that is
    taken inside the block holds them. They move in training mode alone; a layer that has not been called in training
    mode rounds its weights only. After the block the network is a plain one again, with the weights in float32 that the
    rounding started from.

    Args:
        network: changed in place. Batch norms stay as they are: in training mode their statistics are those of rounded
            activations, as the file's will be.

    Raises:
        UserError: if it has no layer that could be rounded.
    """
    layers = [module for module in network.modules() if isinstance(module, LAYERS)]
    if not layers:
        names = ", ".join(kind.__name__ for kind in LAYERS)
        raise UserError(
            f"{type(network).__name__} has no layer that computes in 8 bits ({names}), so there is nothing to train "
            "for: leave quantize out of the recipe."
        )
    with contextlib.ExitStack() as stack:
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", FakeWeight())
            stack.callback(parametrize.remove_parametrizations, layer, "weight", leave_parametrized=False)
            layer.add_module(_CHILD, FakeInput().train(layer.training))
            stack.callback(layer.__delattr__, _CHILD)
            stack.callback(layer.register_forward_pre_hook(_round_input).remove)
        yield


def fake_quantize(values: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
    """``round(values / scale) + zero_point``, cut off at ``lowest`` and ``highest``, back in the units of ``values``.

    Halves are rounded to even, as ONNX does. The gradient of a value is 1, or 0 where it was cut off.

    Args:
        values: of any shape, computed with in float32.
        scale: the distance of two steps, broadcast to ``values``.
        zero_point: the integer that stands for 0, as a float, likewise.
        lowest: integer.
        highest: integer.
    """
    rounded: Tensor = _Rounding.apply(values.float(), scale, lowest - zero_point, highest - zero_point)
    return rounded.to(values.dtype)


class _Rounding(torch.autograd.Function):
    """Rounds straight through. aten's own takes longer on the CPU, and is not there on every device."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, lowest: Tensor, highest: Tensor) -> Tensor:
        steps = (values / scale).round_()
        cut = steps.clamp(lowest, highest)
        ctx.save_for_backward(cut == steps)
        return cut.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (kept,) = ctx.saved_tensors
        return gradients[0] * kept, None, None, None


class FakeWeight(nn.Module):
    """Rounds the weights of a layer, each output channel by its largest absolute value."""

    def forward(self, weight: Tensor) -> Tensor:
        """Round.

        Args:
            weight: (output channels, ...).
        """
        largest = weight.detach().float().flatten(1).abs().amax(1)
        scale = _nonzero(largest / HIGHEST_WEIGHT).reshape(-1, *[1] * (weight.ndim - 1))
        return fake_quantize(weight, scale, torch.zeros_like(scale), -HIGHEST_WEIGHT, HIGHEST_WEIGHT)


class FakeInput(nn.Module):
    """Rounds what goes into a layer, by running means of the least and the largest value of each batch.

    Attributes:
        low: scalar, at most 0, so that 0 - the padding of convolutions - is one of the steps.
        high: scalar, at least 0.
        started: whether there was a batch.
    """

    low: Tensor
    high: Tensor
    started: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, values: Tensor) -> Tensor:
        """Round, after moving the range in training mode.

        Args:
            values: of any shape.
        """
        if self.training:
            self._move(values.detach())
        elif not self.started:
            return values
        scale = _nonzero((self.high - self.low) / (HIGHEST - LOWEST))
        zero_point = (LOWEST - self.low / scale).round().clamp(LOWEST, HIGHEST)
        return fake_quantize(values, scale, zero_point, LOWEST, HIGHEST)

    def _move(self, values: Tensor) -> None:
        low, high = (extreme.float() for extreme in torch.aminmax(values))
        share = torch.where(self.started, MOMENTUM, 1.0)
        self.low.lerp_(low.clamp(max=0), share)
        self.high.lerp_(high.clamp(min=0), share)
        self.started.fill_(True)


def _round_input(layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return (layer.get_submodule(_CHILD)(given[0]), *given[1:])


def _nonzero(scale: Tensor) -> Tensor:
    """Where all values are 0 any scale will do."""
    return torch.where(scale < _TINY, torch.ones_like(scale), scale)
