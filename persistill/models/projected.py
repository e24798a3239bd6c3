"""A network whose last feature map goes through a projector and the classifier of another network."""

import re
from typing import NamedTuple

from torch import Tensor, nn

from persistill.models.base import Network
from persistill.structures import FeatureMapSpec, ModelOutput

PROJECTED = "projected"
"""Name of the projector's map."""

_SUFFIX = re.compile(r"\+projector-(\d{1,6})-(\d{1,3})$")


class Projector(NamedTuple):
    """What the name of such a network says of its projector.

    Attributes:
        channels: of its result.
        reduction: by how much its inner layers have fewer channels.
    """

    channels: int
    reduction: int


def split_projector(name: str) -> tuple[str, Projector | None]:
    """The name of the network alone, and its projector, None for a network without: "wrn-16-1+projector-256-2"."""
    found = _SUFFIX.search(name)
    return (name[: found.start()], Projector(int(found[1]), int(found[2]))) if found else (name, None)


class ProjectedClassifier(Network):
    """A network, a projector on its last map, and a classifier of the projected map's mean, which is not trained.

    The projector is a 1x1, a 3x3 and a 1x1 convolution, each with batch normalization and ReLU (Chen et al. 2022,
    arXiv 2203.14001). The network's own classifier is not asked any more, and stays in the file.

    Args:
        network: with at least one map.
        projector: its width and that of its inner layers.

    Attributes:
        classifier: to be given the weights of another network's.
    """

    def __init__(self, network: Network, projector: Projector) -> None:
        spec = network.spec
        self._last = list(spec.feature_maps)[-1]
        channels, stride = spec.feature_maps[self._last]
        maps = {**spec.feature_maps, PROJECTED: FeatureMapSpec(projector.channels, stride)}
        spec = spec._replace(embedding_dim=projector.channels, feature_maps=maps)
        super().__init__(f"{network.name}+projector-{projector.channels}-{projector.reduction}", spec)
        self.image_size = network.image_size
        self.network = network
        inner = max(1, projector.channels // projector.reduction)
        self.projector = nn.Sequential(
            *_layer(channels, inner, 1), *_layer(inner, inner, 3), *_layer(inner, projector.channels, 1)
        )
        self.classifier = nn.Linear(projector.channels, spec.num_classes).requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images ``x``, (B, C, H, W), by the projected map's mean."""
        output = self.network(x)
        projected = self.projector(output.feature_maps[self._last])
        embedding = projected.mean((2, 3))
        return ModelOutput(self.classifier(embedding), embedding, {**output.feature_maps, PROJECTED: projected})


def _layer(channels: int, wanted: int, kernel: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, wanted, kernel, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(wanted), nn.ReLU()
