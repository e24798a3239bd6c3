"""MobileNetV2 for small images (Sandler et al. 2018, "MobileNetV2"), half as wide, in the form of RepDistiller.

Against the paper: ReLU instead of ReLU6, strides for images of side 32 (16 in all instead of 32), an expansion layer
in the first block too, and no dropout.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from persistill.models.base import Network, initialize
from persistill.structures import FeatureMapSpec, FeatureSpec, ModelOutput

_STEM, _LAST = 16, 1280
_EXPANSION = 6
_STAGES = (  # each at half the side of the one before; rows of blocks: expansion, channels, blocks, first stride
    ((1, 8, 1, 1), (_EXPANSION, 12, 2, 1)),
    ((_EXPANSION, 16, 3, 2),),
    ((_EXPANSION, 32, 4, 2), (_EXPANSION, 48, 3, 1)),
    ((_EXPANSION, 80, 3, 2), (_EXPANSION, 160, 1, 1)),
)


class _Block(nn.Module):
    """1x1 expansion - BN - ReLU - 3x3 in each channel - BN - ReLU - 1x1 - BN, added to the input where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.expand = nn.Conv2d(channels_in, wide, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide)
        self.filter = nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        self.project = nn.Conv2d(wide, channels_out, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels_out)
        self.residual = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.expand(x)))
        out = F.relu(self.norm2(self.filter(out)))
        out = self.norm3(self.project(out))
        total: Tensor = x + out if self.residual else out
        return total


class MobileNetV2(Network):
    """MobileNetV2, half as wide but for its last convolution. Maps "stage1" to "stage4" are linear block outputs.

    Images may have any size: a side of n gives sides of ceil(n / 2), ceil(n / 4), ceil(n / 8) and ceil(n / 16).

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        maps = {f"stage{i}": FeatureMapSpec(rows[-1][1], 2**i) for i, rows in enumerate(_STAGES, 1)}
        super().__init__("mobilenet-v2-half", FeatureSpec(in_channels, num_classes, _LAST, maps))
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, _STEM, 3, 2, padding=1, bias=False), nn.BatchNorm2d(_STEM), nn.ReLU()
        )
        self.stages = nn.ModuleDict()
        reached = _STEM
        for name, rows in zip(maps, _STAGES, strict=True):
            blocks = []
            for expansion, channels, count, first in rows:
                for i in range(count):
                    blocks.append(_Block(reached, channels, 1 if i else first, expansion))
                    reached = channels
            self.stages[name] = nn.Sequential(*blocks)
        self.last = nn.Sequential(nn.Conv2d(reached, _LAST, 1, bias=False), nn.BatchNorm2d(_LAST), nn.ReLU())
        self.classifier = nn.Linear(_LAST, num_classes)
        initialize(self)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images.

        Args:
            x: (B, in_channels, H, W), normalized.

        Returns:
            Logits (B, num_classes), embedding (B, 1280) and four maps.
        """
        x = self.stem(x)
        maps: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        embedding = F.adaptive_avg_pool2d(self.last(x), 1).flatten(1)
        return ModelOutput(self.classifier(embedding), embedding, maps)
