"""The vocabulary that all rooms share: what a network returns, what a batch holds, what a method is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor


class Features(NamedTuple):
    """What every network returns, teacher or student.

    Attributes:
        logits: (B, K), unnormalised log-probabilities of K classes.
        embedding: (B, D), the input of the last linear layer.
        maps: stage name -> (B, C, H, W), in the order in which the network computes them.
    """

    logits: Tensor
    embedding: Tensor
    maps: dict[str, Tensor]


Part = Literal["logits", "embedding", "maps"]
"""A field of ``Features``."""


class MapSpec(NamedTuple):
    """Shape of one stage's map, known before any forward pass: an input of side n gives a side of ceil(n / stride)."""

    channels: int
    stride: int


class FeatureSpec(NamedTuple):
    """Shapes of the ``Features`` that a network will return."""

    in_channels: int
    num_classes: int
    embedding_dim: int
    maps: dict[str, MapSpec]


@dataclass(frozen=True)
class Batch:
    """A mini-batch, already on its device.

    Attributes:
        views: view name -> (B, C, H, W) float tensor, normalised; "image" is the picture itself.
        target: (B,) int64 class numbers.
        index: (B,) int64 positions of the samples in their split.
    """

    views: dict[str, Tensor]
    target: Tensor
    index: Tensor


class Batches(Protocol):
    """A split as batches, the same ones whenever they are asked for. ``data.Loader`` is one."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number``, from batch ``start`` on, which alone decide order and augmentation."""


class Method(Protocol):
    """A distillation method: named terms of a loss, and their weights.

    The training loss is ``cross_entropy * CE + sum(weights[name] * terms[name])``, summed over all methods of an arm;
    no factor hides anywhere else.
    """

    @property
    def teachers_needed(self) -> int:
        """The least number of teachers."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Term name -> weight."""

    @property
    def reads(self) -> frozenset[Part]:
        """What ``terms`` reads of a teacher's features; a stored teacher holds no more."""

    def terms(self, student: Features, teachers: Sequence[Features], target: Tensor) -> dict[str, Tensor]:
        """The unweighted terms, each a scalar, with the names of ``weights``."""
