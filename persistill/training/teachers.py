"""Teachers that cannot learn by accident."""

from collections.abc import Callable
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from persistill.structures import Batch, ModelOutput


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
    def forward(self, images: Tensor) -> ModelOutput:
        """The network's features, outside any graph."""
        features: ModelOutput = self.network(images)
        return features


class TeacherCallable(Protocol):
    """A teacher in a training: its features of a batch, outside any graph.

    Attributes:
        network: itself, for losses that use a part of it; None where features alone are at hand.
        view: the name of the view that it sees.
    """

    network: Frozen | None
    view: str

    def __call__(self, batch: Batch) -> ModelOutput:
        """Features of the batch's images."""


class OnlineTeacher:
    """A teacher that is asked at every step.

    Args:
        network: the frozen network.
        view: the name of the view that it sees.
        asked: what is asked in its place, compiled for instance; None for itself.
    """

    def __init__(self, network: Frozen, view: str = "image", *, asked: nn.Module | None = None) -> None:
        self.network: Frozen | None = network
        self._asked, self.view = network if asked is None else asked, view

    def __call__(self, batch: Batch) -> ModelOutput:
        """The network's features of its view."""
        features: ModelOutput = self._asked(batch.inputs[self.view])
        return features


class StoredTeacher:
    """A teacher whose features of every image were computed before.

    Args:
        fetch: positions (B,) of images in the training split -> their features.
        view: the name of the view that it saw.
        network: the frozen network itself, for losses that use a part of it.
    """

    def __init__(
        self, fetch: Callable[[Tensor], ModelOutput], view: str = "image", network: Frozen | None = None
    ) -> None:
        self._fetch, self.view, self.network = fetch, view, network

    def __call__(self, batch: Batch) -> ModelOutput:
        """The stored features of the batch's images."""
        return self._fetch(batch.index)
