"""Residual networks for small images (He et al. 2016, "Deep Residual Learning", section 4.2).

Where channels change, the shortcut is a 1x1 convolution with batch normalization: the paper's option B, and
the form of RepDistiller, whose networks the benchmark tables of distillation use. The paper's own CIFAR
networks pad with zeros (option A) and have slightly fewer parameters: 269,722 for ResNet-20, 272,474 here.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network, initialize
from persistill.structures import FeatureMapSpec, FeatureSpec, ModelOutput

_STAGES = ((16, 1), (32, 2), (64, 4))  # channels at width 1, stride against the image


class _Block(nn.Module):
    """3x3 - BN - ReLU - 3x3 - BN, added to the shortcut, then ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(residual + self.shortcut(x))


class PostActivation(Network):
    """What residual networks have in common that activate after the sum: the way from the stem through the stages."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    stages: nn.ModuleDict
    classifier: nn.Linear

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images.

        Args:
            x: (B, in_channels, H, W), normalized.

        Returns:
            Logits (B, num_classes), embedding (B, channels of the last stage) and a map for each stage, after ReLU.
        """
        x = F.relu(self.norm(self.conv(x)))
        maps: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        embedding = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return ModelOutput(self.classifier(embedding), embedding, maps)


class ResNet(PostActivation):
    """ResNet-depth, or ResNet-depth x width. Maps "stage1" to "stage3" are the stages' outputs, after ReLU.

    Images may have any size: a side of n gives sides of n, ceil(n / 2) and ceil(n / 4).

    Args:
        depth: 6n + 2, with n blocks a stage: 8, 14, 20, 32, 44, 56, 110, ...
        width: factor on the stages' 16, 32 and 64 channels. The first convolution has 16 channels at width 1
            and 32 above, as in RepDistiller's resnet8x4 and resnet32x4.
        in_channels: channels of the images.
        num_classes: length of the logits.

    Raises:
        UserError: if there is no network of that depth or width.
    """

    def __init__(self, depth: int, width: int = 1, in_channels: int = 3, num_classes: int = 10) -> None:
        if depth < 8 or depth % 6 != 2:
            raise UserError(f"a CIFAR ResNet has depth 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...); {depth} was given.")
        if width < 1:
            raise UserError(f"the width of a CIFAR ResNet is 1 or more; {width} was given.")
        maps = {
            f"stage{i}": FeatureMapSpec(channels * width, stride) for i, (channels, stride) in enumerate(_STAGES, 1)
        }
        spec = FeatureSpec(in_channels, num_classes, maps["stage3"].channels, maps)
        super().__init__(f"resnet-{depth}" + (f"x{width}" if width > 1 else ""), spec)
        channels, reached = 16 if width == 1 else 32, 1
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.stages = nn.ModuleDict()
        for name, (wanted, stride) in maps.items():
            blocks = []
            for _ in range((depth - 2) // 6):
                blocks.append(_Block(channels, wanted, stride // reached))
                channels, reached = wanted, stride
            self.stages[name] = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)
