"""Teachers that cannot learn by accident."""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from persistill.types import Features


class Frozen(nn.Module):
    """A network in evaluation mode, without gradients, which stays so whatever is called on it.

    ``train()`` does nothing: batch statistics of a teacher that "trains" along with its student drift silently.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the answer is the same for both
        """Stay in evaluation mode."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:  # noqa: ARG002
        """Stay without gradients."""
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """The network's features, outside any graph."""
        features: Features = self.network(images)
        return features


class Teaching(NamedTuple):
    """A teacher in a training: the frozen network and the name of the view that it sees."""

    network: Frozen
    view: str
