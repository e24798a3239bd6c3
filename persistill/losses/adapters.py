"""Layers that bring features to another width, for methods with trainable parts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def apply(layer: nn.Module, features: Tensor) -> Tensor:
    """What a layer makes of features, in the precision of its parameters.

    Features of half precision and an autocast around the loss would round what the loss is to compare.

    Args:
        layer: with parameters.
        features: (B, ...), of any floating type.

    Returns:
        What the layer returns.
    """
    precision = next(layer.parameters()).dtype
    with torch.autocast(features.device.type, enabled=False):
        result: Tensor = layer(features.to(precision))
    return result


class ConvNorm(nn.Module):
    """A convolution that keeps height and width, and batch normalization.

    Args:
        channels: of the features.
        wanted: channels of the result.
        kernel: side of the convolution, odd.
    """

    def __init__(self, channels: int, wanted: int, kernel: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, wanted, kernel, padding=kernel // 2, bias=False), _Norm(wanted))

    def forward(self, features: Tensor) -> Tensor:
        """Maps (B, channels, H, W) to (B, wanted, H, W), in the precision of the weights."""
        return apply(self.layers, features)


class _Norm(nn.BatchNorm2d):
    """Batch normalization that takes rounding for no signal, and one value a channel by the running statistics.

    What is left of a constant channel after its mean is taken away is rounding. Scaled up, it would be a map of noise,
    with a gradient to match; here such a channel becomes its bias and passes no gradient.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        if not self.training:
            return super().forward(input)
        if input.numel() == self.num_features:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        deviation, mean = torch.std_mean(input.detach(), (0, 2, 3), keepdim=True)
        constant = deviation <= 16 * torch.finfo(input.dtype).eps * mean.abs()
        return torch.where(constant, self.bias[:, None, None], super().forward(input))
