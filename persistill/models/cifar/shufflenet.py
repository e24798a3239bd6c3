"""ShuffleNets for small images (Zhang et al. 2018, "ShuffleNet"; Ma et al. 2018, "ShuffleNet V2").

In the form of RepDistiller: the papers' stem of a 3x3 convolution with stride 2 and a pooling is a 1x1 convolution
here, so that the image is halved three times in all and not five times. In version 1 a ReLU follows the 3x3
convolution too, where the paper has none. Weights are drawn as PyTorch's layers do by default.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persistill.models.base import Network
from persistill.structures import FeatureMapSpec, FeatureSpec, ModelOutput

_STEM = 24
_GROUPS = 3  # of version 1's 1x1 convolutions
_STAGES_1 = ((240, 4), (480, 8), (960, 4))  # channels, blocks
_STAGES_2 = ((116, 4), (232, 8), (464, 4))
_LAST_2 = 1024


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal channels out: the first of each group, then the second of each, and so on."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class _Block1(nn.Module):
    """Grouped 1x1 - BN - ReLU - shuffle - 3x3 in each channel - BN - ReLU - grouped 1x1 - BN, then ReLU.

    Added to the input, or, where it halves the image, joined by the input's averages as further channels.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.halves = channels_in != channels_out
        own = channels_out - channels_in if self.halves else channels_out
        narrow = own // 4
        self.groups = 1 if channels_in == _STEM else _GROUPS
        self.conv1 = nn.Conv2d(channels_in, narrow, 1, groups=self.groups, bias=False)
        self.norm1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, 2 if self.halves else 1, padding=1, groups=narrow, bias=False)
        self.norm2 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, own, 1, groups=_GROUPS, bias=False)
        self.norm3 = nn.BatchNorm2d(own)

    def forward(self, x: Tensor) -> Tensor:
        out = _shuffle(F.relu(self.norm1(self.conv1(x))), self.groups)
        out = F.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return F.relu(torch.cat([out, F.avg_pool2d(x, 3, 2, padding=1)], 1) if self.halves else out + x)


class _Block2(nn.Module):
    """Half of the channels pass untouched, half through 1x1 - BN - ReLU - 3x3 in each channel - BN - 1x1 - BN - ReLU.

    Where it halves the image, all channels take both ways, and the first is 3x3 in each channel - BN - 1x1 - BN -
    ReLU. Both are joined and shuffled.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.halves = channels_in != channels_out
        stride, given = (2, channels_in) if self.halves else (1, half)
        self.one: nn.Module = nn.Identity()
        if self.halves:
            self.one = nn.Sequential(
                nn.Conv2d(given, given, 3, stride, padding=1, groups=given, bias=False),
                nn.BatchNorm2d(given),
                nn.Conv2d(given, half, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
            )
        self.other = nn.Sequential(
            nn.Conv2d(given, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, stride, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        one, other = (x, x) if self.halves else x.chunk(2, 1)
        return _shuffle(torch.cat([self.one(one), self.other(other)], 1), 2)


class _ShuffleNet(Network):
    """A 1x1 stem, three stages that each begin with halving the image, perhaps a last 1x1 convolution, and the head.

    Maps "stage1" to "stage3" are the stages' outputs, after ReLU. Images may have any size: a side of n gives sides
    of ceil(n / 2), ceil(n / 4) and ceil(n / 8).
    """

    def __init__(
        self,
        name: str,
        stages: tuple[tuple[int, int], ...],
        block: Callable[[int, int], nn.Module],
        last: int | None,
        in_channels: int,
        num_classes: int,
    ) -> None:
        maps = {f"stage{i}": FeatureMapSpec(channels, 2**i) for i, (channels, _) in enumerate(stages, 1)}
        reached = _STEM
        super().__init__(name, FeatureSpec(in_channels, num_classes, last or stages[-1][0], maps))
        self.stem = _pointwise(in_channels, _STEM)
        self.stages = nn.ModuleDict()
        for map_name, (channels, count) in zip(maps, stages, strict=True):
            self.stages[map_name] = nn.Sequential(
                block(reached, channels), *(block(channels, channels) for _ in range(count - 1))
            )
            reached = channels
        self.last = nn.Identity() if last is None else _pointwise(reached, last)
        self.classifier = nn.Linear(self.spec.embedding_dim, num_classes)

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images.

        Args:
            x: (B, in_channels, H, W), normalized.

        Returns:
            Logits (B, num_classes), embedding (B, 960 in version 1, 1024 in version 2) and three maps.
        """
        x = self.stem(x)
        maps: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        embedding = F.adaptive_avg_pool2d(self.last(x), 1).flatten(1)
        return ModelOutput(self.classifier(embedding), embedding, maps)


class ShuffleNetV1(_ShuffleNet):
    """ShuffleNet with 3 groups.

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__("shufflenet-v1", _STAGES_1, _Block1, None, in_channels, num_classes)


class ShuffleNetV2(_ShuffleNet):
    """ShuffleNet V2 at width 1.

    Args:
        in_channels: channels of the images.
        num_classes: length of the logits.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        super().__init__("shufflenet-v2", _STAGES_2, _Block2, _LAST_2, in_channels, num_classes)


def _pointwise(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU())
