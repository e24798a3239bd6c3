"""What the files of a student answer, and how it is told whether two of them answer alike."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from persistill.exporters.formats import Format, Outputs
from persistill.exporters.latency import BATCHES
from persistill.models import Network


@dataclass(frozen=True)
class Reference:
    """What the checkpoint answers.

    Attributes:
        answers: as ``ExportTask.score`` takes them.
    """

    answers: Any


@dataclass(frozen=True)
class Compared:
    """A file beside the checkpoint.

    Attributes:
        answers: the file's, as ``ExportTask.score`` takes them.
        difference: the largest between two numbers.
        agreement: share of equal answers.
    """

    answers: Any
    difference: float
    agreement: float


class OutputKind(ABC):
    """What networks of a task answer when they are exported.

    Attributes:
        names: of the outputs of most files, in order.
        timed: numbers of images whose time is measured, at once.
        float_tail: whether what follows the last convolutions stays in float32 in an int8 file, with these.
    """

    names: ClassVar[tuple[str, ...]]
    timed: ClassVar[tuple[int, ...]] = BATCHES
    float_tail: ClassVar[bool] = False

    @property
    @abstractmethod
    def formats(self) -> Mapping[str, Format]:
        """Name -> format, in the order in which they are written; "safetensors" is the first."""

    def left_out(self, network: Network) -> Mapping[str, str]:  # noqa: ARG002 - of kinds that all networks have
        """Formats that there cannot be of a network -> why, a sentence."""
        return {}

    @abstractmethod
    def module(self, network: Network, about: Mapping[str, Any]) -> nn.Module:
        """The network with its normalization in front: images (B, C, H, W) in [0, 1] -> the outputs ``names``.

        Args:
            network: in evaluation mode.
            about: "mean", "std" and "shape" of the images.
        """

    @abstractmethod
    def reference(self, network: Network, about: Mapping[str, Any], batches: Sequence[Tensor]) -> Reference:
        """What the checkpoint answers, by code of its own: not that of ``module``.

        Args:
            network: in evaluation mode.
            about: "mean", "std" and "shape".
            batches: images (B, C, H, W) in [0, 1].
        """

    @abstractmethod
    def compare(self, found: Sequence[Outputs], reference: Reference, kind: Format) -> Compared:
        """Hold a file's answers against the checkpoint's.

        Args:
            found: of each call.
            reference: of the same images.
            kind: the file's.

        Raises:
            RuntimeError: if they differ more than the format may.
        """

    @abstractmethod
    def describe(self, reference: Reference) -> dict[str, Any]:
        """Entries of model.json about the outputs: "output", and what else there is to know of them."""


def normalized(images: Tensor, about: Mapping[str, Any]) -> Tensor:
    """Images (B, C, H, W) in [0, 1] as the network sees them."""
    mean, std = (torch.tensor(about[name]).reshape(1, -1, 1, 1) for name in ("mean", "std"))
    return (images - mean) / std


def refusal(kind: Format, said: str) -> RuntimeError:
    """The error of a file that does not answer as the checkpoint does."""
    return RuntimeError(f"{kind.file} does not answer as the checkpoint does: {said} The file was not kept.")
