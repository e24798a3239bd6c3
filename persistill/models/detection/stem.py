"""A stem in front of a network for small images, so that it can look at large ones."""

from collections.abc import Callable

from torch import Tensor, nn

from persistill.models.base import Network
from persistill.models.encoder import Encoder, OwnEncoder
from persistill.structures import FeatureMapSpec

_STRIDE = 4
_CHANNELS = 32
_DEEPEST = 8
"""Networks whose last map has this stride or a finer one get a stem."""


class StemEncoder(OwnEncoder):
    """One of our own networks behind a convolution and a pooling of stride 2 each, as networks for ImageNet begin.

    Networks for images of 32x32 keep strides of 1 to 4, at which a pyramid over an image of 320x240 would have sixteen
    times as many places.

    Args:
        make: channels of its input -> the network, which loses its classifier.
        in_channels: channels of the images.
    """

    def __init__(self, make: Callable[[int], Network], in_channels: int) -> None:
        super().__init__(make(_CHANNELS))
        self.in_channels = in_channels
        self.feature_maps = {
            name: FeatureMapSpec(spec.channels, _STRIDE * spec.stride) for name, spec in self.feature_maps.items()
        }
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, _CHANNELS, 7, 2, 3, bias=False),
            nn.BatchNorm2d(_CHANNELS),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Images (B, C, H, W), normalized -> the pooled output (B, D), and the maps of the stages."""
        return super().forward(self.stem(x))


def own_encoder(make: Callable[[int], Network], in_channels: int) -> Encoder:
    """One of our own networks as the encoder of a detector, with a stem if its maps are finer than a detector needs.

    Args:
        make: channels of its input -> the network.
        in_channels: channels of the images.
    """
    network = make(in_channels)
    last = [*network.spec.feature_maps.values()][-1].stride
    return StemEncoder(make, in_channels) if last <= _DEEPEST else OwnEncoder(network)
