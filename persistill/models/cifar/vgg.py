"""VGG for small images (Simonyan and Zisserman 2015), in the form of RepDistiller.

With batch normalization, without the fully connected layers but for the last, and averaged over all positions at the
end, where the paper's networks pool a fifth time.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network, initialize
from persistill.structures import FeatureMapSpec, FeatureSpec, ModelOutput

_STEM = 64
_STAGES = ((128, 2), (256, 4), (512, 8), (512, 8))  # channels, stride against the image
_DEPTHS = {8: 1, 13: 2}  # convolutions in the stem and in each stage


class VGG(Network):
    """VGG-depth. Maps "stage1" to "stage4" are the stages' outputs after ReLU, before pooling.

    Images may have any size: a side of n gives sides of ceil(n / 2), ceil(n / 4) and twice ceil(n / 8), because
    pooling rounds up, which for even sides is the literature's pooling. RepDistiller pools once more between the last
    two stages for images of side 64 alone; here no size is treated differently.

    Args:
        depth: 8 or 13, with 5 or 10 convolutions. The number counts the paper's three fully connected layers, of which
            one is left.
        in_channels: channels of the images.
        num_classes: length of the logits.

    Raises:
        UserError: if there is no network of that depth.
    """

    def __init__(self, depth: int, in_channels: int = 3, num_classes: int = 10) -> None:
        if depth not in _DEPTHS:
            raise UserError(f"there are VGG-8 and VGG-13 for small images; the depth {depth} was given.")
        maps = {f"stage{i}": FeatureMapSpec(channels, stride) for i, (channels, stride) in enumerate(_STAGES, 1)}
        spec = FeatureSpec(in_channels, num_classes, maps["stage4"].channels, maps)
        super().__init__(f"vgg-{depth}", spec)
        self.stem = _convolutions(in_channels, _STEM, _DEPTHS[depth])
        self.stages = nn.ModuleDict()
        channels, reached = _STEM, 1
        for name, (wanted, stride) in maps.items():
            pool = [nn.MaxPool2d(2, ceil_mode=True)] if stride > reached else []
            self.stages[name] = nn.Sequential(*pool, *_convolutions(channels, wanted, _DEPTHS[depth]))
            channels, reached = wanted, stride
        self.classifier = nn.Linear(channels, num_classes)
        initialize(self)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images.

        Args:
            x: (B, in_channels, H, W), normalized.

        Returns:
            Logits (B, num_classes), embedding (B, 512) and four maps.
        """
        x = self.stem(x)
        maps: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            maps[name] = x = stage(x)
        embedding = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return ModelOutput(self.classifier(embedding), embedding, maps)


def _convolutions(channels_in: int, channels_out: int, count: int) -> nn.Sequential:
    """So many times 3x3 - BN - ReLU."""
    layers: list[nn.Module] = []
    for i in range(count):
        convolution = nn.Conv2d(channels_out if i else channels_in, channels_out, 3, padding=1)
        layers += [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)
