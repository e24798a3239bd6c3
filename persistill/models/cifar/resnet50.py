"""ResNet-50 for small images, the larger teacher in tables of distillation on CIFAR-100.

The blocks and their numbers are those of ResNet-50 for ImageNet (He et al. 2016, "Deep Residual Learning", table 1).
The stem is one 3x3 convolution of stride 1 without pooling, as in RepDistiller (models/resnetv2.py) and other code for
CIFAR, and a block that halves does so in its 3x3 convolution.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from persistill.models.base import initialize
from persistill.models.cifar.resnet import PostActivation
from persistill.structures import FeatureMapSpec, FeatureSpec

_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 4), (3, 512, 8))  # blocks, inner channels, stride against the image
_EXPANSION = 4


class _Block(nn.Module):
    """1x1 - BN - ReLU - 3x3 - BN - ReLU - 1x1 - BN, added to the shortcut, then ReLU."""

    def __init__(self, channels_in: int, inner: int, stride: int) -> None:
        super().__init__()
        channels_out = _EXPANSION * inner
        self.conv1 = nn.Conv2d(channels_in, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, channels_out, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = F.relu(self.norm1(self.conv1(x)))
        residual = F.relu(self.norm2(self.conv2(residual)))
        return F.relu(self.norm3(self.conv3(residual)) + self.shortcut(x))


class BottleneckResNet(PostActivation):
    """ResNet-50 of bottleneck blocks, "resnet-50-bottleneck". Maps "stage1" to "stage4" are the stages' outputs.

    It is no relative of ``ResNet``, whose depths are 6n + 2 and whose blocks have two convolutions.
    Images may have any size: a side of n gives sides of n, ceil(n / 2), ceil(n / 4) and ceil(n / 8).

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        maps = {
            f"stage{i}": FeatureMapSpec(_EXPANSION * inner, stride) for i, (_, inner, stride) in enumerate(_STAGES, 1)
        }
        spec = FeatureSpec(in_channels, num_classes, maps["stage4"].channels, maps)
        super().__init__("resnet-50-bottleneck", spec)
        channels, reached = 64, 1
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.stages = nn.ModuleDict()
        for name, (count, inner, stride) in zip(maps, _STAGES, strict=True):
            blocks = []
            for _ in range(count):
                blocks.append(_Block(channels, inner, stride // reached))
                channels, reached = _EXPANSION * inner, stride
            self.stages[name] = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)
