"""The base class of all networks: the outputs of a forward pass, and their shapes before it."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from persistill.structures import FeatureSpec, ModelOutput


class Network(nn.Module, ABC):
    """Classifies images, or their pixels, and returns ``ModelOutput``; as teacher or as student.

    Attributes:
        name: the name from which ``build`` makes it again.
        spec: channels, strides and sizes of what it will return; true for images of any height and width unless
            ``image_size`` is given.
        image_size: height and width of the images for which the spec holds; None for all.
    """

    name: str
    spec: FeatureSpec
    image_size: tuple[int, int] | None = None

    def __init__(self, name: str, spec: FeatureSpec) -> None:
        super().__init__()
        self.name = name
        self.spec = spec

    @abstractmethod
    def forward(self, x: Tensor) -> ModelOutput:
        """Classify images ``x``, (B, C, H, W), normalized, or their pixels."""

    def get_classifier(self) -> nn.Linear | None:
        """The last layer, which makes logits (B, K) of the embedding (B, D); None where no single layer does."""
        found = getattr(self, "classifier", None)
        return found if isinstance(found, nn.Linear) else None

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> ModelOutput:
            """Call ``forward``; declared because ``nn.Module`` leaves the type of its result open."""


def find_classifier(network: Network, output: ModelOutput) -> nn.Linear | None:
    """The classifier of a network, if it does make the logits of an output of its embedding.

    Args:
        network: in evaluation mode.
        output: its output for some images.
    """
    classifier = network.get_classifier()
    if classifier is None or output.embedding.ndim != 2 or output.embedding.shape[1] != classifier.in_features:
        return None
    with torch.no_grad():
        logits = classifier(output.embedding)
    same = logits.shape == output.logits.shape and torch.allclose(logits, output.logits, rtol=1e-3, atol=1e-3)
    return classifier if same else None


def initialize(network: nn.Module) -> None:
    """Initialize the weights as the literature of these networks does; ``torch.manual_seed`` seeds them.

    Convolutions: normal, mean 0, variance 2 / (kernel area x output channels) (He et al. 2015, fan-out), bias 0.
    Batch normalization: scale 1, shift 0. Last layer: PyTorch's uniform weights, bias 0. Weights without memory (on
    the meta device) are left alone: others will take their place, and to draw none imports a compiler of torch's.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
