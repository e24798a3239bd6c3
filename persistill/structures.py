"""The vocabulary that all rooms share: what a network returns, what a batch holds, what a method is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from persistill.utils.progress import Progress

IGNORE_INDEX = -100
"""Target of a pixel that has no class: neither losses nor metrics count it. torch's own default."""


class ModelOutput(NamedTuple):
    """What every network returns, teacher or student.

    Attributes:
        logits: (B, K), unnormalized log-probabilities of K classes; (B, K, H, W) where every pixel has a class.
        embedding: (B, D), the input of the last linear layer, averaged over positions where it has any.
        feature_maps: stage name -> (B, C, H, W), in the order in which the network computes them.
    """

    logits: Tensor
    embedding: Tensor
    feature_maps: dict[str, Tensor]


OutputField = Literal["logits", "embedding", "feature_maps"]
"""A field of ``ModelOutput``."""


class FeatureMapSpec(NamedTuple):
    """Shape of one stage's map, known before any forward pass: an input of side n gives a side of ceil(n / stride)."""

    channels: int
    stride: int


class FeatureSpec(NamedTuple):
    """Shapes of the ``ModelOutput`` that a network will return."""

    in_channels: int
    num_classes: int
    embedding_dim: int
    feature_maps: dict[str, FeatureMapSpec]


@dataclass(frozen=True)
class Batch:
    """A mini-batch, already on its device.

    Attributes:
        inputs: view name -> (B, C, H, W) float tensor, normalized; "image" is the image itself.
        target: (B,) int64 class numbers; (B, H, W) where every pixel has a class, ``IGNORE_INDEX`` where it has none.
        index: (B,) int64 positions of the samples in their split.
    """

    inputs: dict[str, Tensor]
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
    no factor hides anywhere else. A method is either a ``PureMethod`` or a ``LearningMethod``.
    """

    @property
    def teachers_needed(self) -> int:
        """The least number of teachers."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Term name -> weight."""

    @property
    def reads(self) -> frozenset[OutputField]:
        """What the terms read of a teacher's features; a stored teacher holds no more."""


@runtime_checkable
class PureMethod(Method, Protocol):
    """A method whose terms are functions of the features alone."""

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The unweighted terms, each a scalar, with the names of ``weights``."""


@dataclass(frozen=True)
class MethodContext:
    """What the trainable parts of a method are built for.

    Attributes:
        student: features of two images, for their shapes.
        teachers: likewise, in the arm's order.
        targets: (N,) int64 classes of all training images; ``Batch.index`` points into them.
        prepared: the folder that the method's preparation filled; None where there is none, and in a dry run.
    """

    student: ModelOutput
    teachers: Sequence[ModelOutput]
    targets: Tensor
    prepared: Path | None = None


@runtime_checkable
class LearningMethod(Method, Protocol):
    """A method with parts of its own - adapters, estimators, memory - that train along with the student.

    They are thrown away when the training ends.
    """

    def learner(self, setting: MethodContext) -> nn.Module:
        """A module whose ``forward(student, teachers, batch)`` gives the unweighted terms.

        Its parameters are trained by the student's optimizer; parameters and buffers lie in checkpoints.
        """


class Preparation(Protocol):
    """What a method needs to be done once, before any student: settings, and the work of a stage of its own."""

    def to_json(self) -> dict[str, Any]:
        """The settings, all that the work depends on beside the teachers and their batches."""

    def prepare(
        self,
        teacher_batches: Callable[[int], Iterator[Sequence[ModelOutput]]],
        folder: Path,
        progress: Progress,
    ) -> dict[str, Any]:
        """Fill the stage's folder; called again after an interruption, it goes on from what lies there.

        Args:
            teacher_batches: epoch number -> what the arm's teachers say of each full batch of the epoch, as students
                meet it.
            folder: where to write.
            progress: told of all that takes time.

        Returns:
            Plain JSON: the stage's result.
        """


@runtime_checkable
class PreparedMethod(LearningMethod, Protocol):
    """A method that may need a preparation."""

    @property
    def preparation(self) -> Preparation | None:
        """Its preparation; None where the settings need none."""
