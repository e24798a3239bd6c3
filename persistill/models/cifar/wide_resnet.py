"""Wide residual networks for small images (Zagoruyko and Komodakis 2016, "Wide Residual Networks")."""

import torch.nn.functional as F
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network, initialize
from persistill.structures import FeatureMapSpec, FeatureSpec, ModelOutput

_STEM = 16
_STAGES = ((16, 1), (32, 2), (64, 4))  # channels at width 1, stride against the image


class _Block(nn.Module):
    """BN - ReLU - 3x3 - BN - ReLU - 3x3, added to the shortcut.

    The shortcut is the block's input or, where channels change, a 1x1 convolution of the activated input.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        same = channels_in == channels_out
        self.shortcut = None if same else nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        residual = self.conv2(F.relu(self.norm2(self.conv1(active))))
        total: Tensor = residual + (x if self.shortcut is None else self.shortcut(active))
        return total


class WideResNet(Network):
    """WRN-depth-width. Maps "stage1" to "stage3" are raw residual sums, before the next batch normalization.

    The first convolution has stride 1 and pooling averages over all positions, so images may have any size:
    a side of n gives sides of n, ceil(n / 2) and ceil(n / 4).

    Args:
        depth: 6n + 4, with n blocks a stage: 10, 16, 22, 28, 34, 40, ...
        width: factor on the stages' 16, 32 and 64 channels.
        in_channels: channels of the images.
        num_classes: length of the logits.

    Raises:
        UserError: if there is no network of that depth or width.
    """

    def __init__(self, depth: int, width: int, in_channels: int = 3, num_classes: int = 10) -> None:
        if depth < 10 or depth % 6 != 4:
            raise UserError(
                f"a wide residual network has depth 6n + 4 (10, 16, 22, 28, 34, 40, ...); {depth} was given."
            )
        if width < 1:
            raise UserError(f"the width of a wide residual network is 1 or more; {width} was given.")
        maps = {
            f"stage{i}": FeatureMapSpec(channels * width, stride) for i, (channels, stride) in enumerate(_STAGES, 1)
        }
        spec = FeatureSpec(in_channels, num_classes, maps["stage3"].channels, maps)
        super().__init__(f"wrn-{depth}-{width}", spec)
        self.conv = nn.Conv2d(in_channels, _STEM, 3, padding=1, bias=False)
        channels, reached = _STEM, 1
        self.stages = nn.ModuleDict()
        for name, (wanted, stride) in maps.items():
            blocks = []
            for _ in range((depth - 4) // 6):
                blocks.append(_Block(channels, wanted, stride // reached))
                channels, reached = wanted, stride
            self.stages[name] = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images.

        Args:
            x: (B, in_channels, H, W), normalized.

        Returns:
            Logits (B, num_classes), embedding (B, 64 width) and three maps.
        """
        x = self.conv(x)
        maps: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        embedding = F.adaptive_avg_pool2d(F.relu(self.norm(x)), 1).flatten(1)
        return ModelOutput(self.classifier(embedding), embedding, maps)
