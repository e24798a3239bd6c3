"""What a distillation loss is: settings, weighted terms by name, and what it needs before and beside a training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.settings import Settings
from persistill.structures import Batch, ModelOutput, OutputField
from persistill.utils.progress import Progress
from persistill.utils.units import counted


class LossOutput(NamedTuple):
    """What a loss gives for one batch.

    Attributes:
        total: scalar, the sum of the terms times their weights at this step.
        terms: name -> scalar, without weight.
    """

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class MethodContext:
    """What a loss is built for.

    Attributes:
        student: outputs for a few images, for their shapes.
        teachers: likewise, in the arm's order.
        targets: (N, *) int64 targets of all training images; ``Batch.index`` points into them.
        prepared: the folder that the loss's preparation filled; None where there is none, and in a dry run.
        classifiers: the layer that makes logits of the embedding, for each teacher; None where a teacher has none, and
            for all where no loss asks (see ``DistillationLoss.requires_classifier``).
    """

    student: ModelOutput
    teachers: Sequence[ModelOutput]
    targets: Tensor
    prepared: Path | None = None
    classifiers: Sequence[nn.Module | None] = ()

    def classifier(self, loss: str, teacher: int = 0) -> nn.Module:
        """A teacher's classifier.

        Args:
            loss: that needs it, for the error.
            teacher: its position.

        Raises:
            UserError: if the teacher has none, or none was given.
        """
        found = self.classifiers[teacher] if teacher < len(self.classifiers) else None
        if found is None:
            raise UserError(
                f"{loss} uses the teacher's classifier, the layer that makes logits (B, K) of its embedding (B, D), "
                "and this teacher has none. Use a teacher that ends in one linear layer, or another loss; in a loop of "
                "your own, give MethodContext(classifiers=[...])."
            )
        return found


class AutoconfigContext(NamedTuple):
    """What ``persistill distill`` knows when it chooses the settings of a loss.

    Attributes:
        image_size: height and width of the images.
        batch_size: of the student's training.
        num_classes: that networks tell apart.
    """

    image_size: tuple[int, int]
    batch_size: int
    num_classes: int

    @property
    def relative_area(self) -> float:
        """Area of an image over that of 32 x 32, for which most weights were published; at most 1."""
        return min(1.0, self.image_size[0] * self.image_size[1] / 32**2)

    def per_pair(self, weight: float, batch_size: int) -> float:
        """The weight of a term with one entry a pair of images, which grows as one over the batch.

        Args:
            weight: as published.
            batch_size: for which it was published.
        """
        return two_digits(weight * min(1.0, self.batch_size / batch_size))


class Suggestion(NamedTuple):
    """How ``persistill distill`` uses a loss where nobody says more.

    Attributes:
        loss: with settings that suit the images.
        cross_entropy: weight of the cross-entropy beside it.
        after_baseline: whether the student starts from the one that was trained without a teacher.
        before_others: whether the loss is no part of a sum, but a training that comes before.
    """

    loss: "DistillationLoss"
    cross_entropy: float = 1.0
    after_baseline: bool = False
    before_others: bool = False


STANDARDIZED_PAIR = "two standardized logits are the same two numbers, whatever they were: set standardize=False"
"""Why a term is constant with two classes that compares z-scores of logits, and what to set instead."""


class Preparation(Protocol):
    """What a loss needs to be done once, before any student: settings, and the work of a stage of its own."""

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
            teacher_batches: epoch number -> outputs of the arm's teachers for each full batch of the epoch, as students
                meet it.
            folder: where to write.
            progress: told of all that takes time.

        Returns:
            Plain JSON: the stage's result.
        """


class DistillationLoss(Settings):
    """A distillation loss: frozen settings, and named terms with their weights.

    A loss that is a function of outputs alone defines ``terms`` and can be called at once::

        total, terms = KD()(student_output, [teacher_output], target)

    One with trainable parts defines ``build``; what it returns is called in the same way::

        module = FitNet().build(MethodContext(student_output, [teacher_output], target))
        total, terms = module(student_output, [teacher_output], target)

    In a training the loss is ``cross_entropy * CE + sum(weights[name] * terms[name])`` over all losses of an arm. No
    factor hides anywhere else.

    Attributes:
        num_teachers: the least number of teachers.
        required_outputs: what the terms read of outputs; a stored teacher holds no more, and several devices gather no
            more. All is gathered for a loss that leaves this as it is.
        requires_classifier: whether ``MethodContext.classifiers`` are needed.
        vanishes_at_equality: whether all terms, and their gradients, are zero where the student's outputs are those of
            all teachers. It says nothing of losses with trainable parts.
    """

    num_teachers: ClassVar[int] = 1
    required_outputs: ClassVar[frozenset[OutputField]] = frozenset({"logits"})
    requires_classifier: ClassVar[bool] = False
    vanishes_at_equality: ClassVar[bool] = True

    @property
    def weights(self) -> Mapping[str, float]:
        """Term name -> weight. By default one term, called as the class is in lower case, with the field ``weight``."""
        weight: float = getattr(self, "weight")  # noqa: B009 - a field of most subclasses, not of this class
        return {type(self).__name__.lower(): weight}

    @property
    def preparation(self) -> Preparation | None:
        """What has to be done once, before any student; None for nothing."""
        return None

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """Terms that are constant by construction with so few classes, and so teach nothing.

        Args:
            num_classes: that networks tell apart.

        Returns:
            Term name -> why, and what to set instead.
        """
        return {}

    def schedule(self, step: int, epoch: int) -> float | Mapping[str, float]:
        """Factor of the weights at a step: one for all terms, or term name -> factor. It is logged with the weights.

        Args:
            step: of the whole training, from 0.
            epoch: from 0.
        """
        return 1.0

    def weights_at(self, step: int, epoch: int) -> dict[str, float]:
        """The weights times their factors, by term name."""
        factor = self.schedule(step, epoch)
        factors = factor if isinstance(factor, Mapping) else dict.fromkeys(self.weights, factor)
        return {name: weight * factors.get(name, 1.0) for name, weight in self.weights.items()}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The unweighted terms, each a scalar, with the names of ``weights``.

        Args:
            student: its outputs, with gradient.
            teachers: outputs for the same images, without gradient.
            target: (B,) class numbers, or (B, *) with -100 where nothing is known.

        Raises:
            UserError: if the loss has trainable parts and was not built.
        """
        name = type(self).__name__
        if type(self).build is DistillationLoss.build:
            raise UserError(f"{name} defines neither terms nor build; a distillation loss needs one of them.")
        raise UserError(
            f"{name} has parts that are trained along with the student. Build them once, module = loss.build("
            "MethodContext(student_output, teacher_outputs, targets)), give module.parameters() to the optimizer, and "
            "call module(student_output, teacher_outputs, target)."
        )

    def build(self, context: MethodContext) -> "LossModule":
        """The loss as a module, with its trainable parts; they are thrown away when the training ends."""
        return LossModule(self)

    def student_network(self, network: Network, context: MethodContext) -> Network:
        """The network that is trained, evaluated and exported in the student's place; itself by default.

        Args:
            network: the student.
            context: with the student's own outputs.

        Returns:
            A network that ``models.build`` makes again from its name.
        """
        return network

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:  # noqa: ARG003 - for subclasses
        """What ``persistill distill`` does with this loss; the defaults, beside the whole cross-entropy."""
        return Suggestion(cls())

    def __call__(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor | Batch) -> LossOutput:
        """Total and terms of one batch, for losses without trainable parts.

        Args:
            student: outputs with gradient.
            teachers: outputs for the same images, as many as ``num_teachers`` or more.
            target: of these images, or the whole batch, where the schedule depends on its step.

        Raises:
            UserError: if there are too few teachers, or the loss has trainable parts.
        """
        output: LossOutput = LossModule(self)(student, teachers, target)
        return output


class LossModule(nn.Module):
    """A loss that was built. Subclasses hold its trainable parts and define ``terms``.

    Args:
        loss: its settings.
    """

    def __init__(self, loss: DistillationLoss) -> None:
        super().__init__()
        self.loss = loss

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        """The unweighted terms, each a scalar, with the names of the loss's weights."""
        return self.loss.terms(student, teachers, batch.target)

    def forward(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor | Batch) -> LossOutput:
        """Total and terms of one batch; see ``DistillationLoss.__call__``.

        A term of weight zero is left out of the total, so that it cannot spoil the gradient.

        Raises:
            UserError: if there are too few teachers, or one that is not in a list.
        """
        if isinstance(teachers, ModelOutput):  # It is a tuple, and so would pass for three teachers.
            raise UserError(
                f"{type(self.loss).__name__} takes the outputs of its teachers in a list; one output was given alone. "
                "Write loss(student_output, [teacher_output], target)."
            )
        if len(teachers) < self.loss.num_teachers:
            raise UserError(
                f"{type(self.loss).__name__} needs the outputs of {counted(self.loss.num_teachers, 'teacher')}, in a "
                f"list; {len(teachers)} were given."
            )
        batch = target if isinstance(target, Batch) else Batch({}, target, torch.arange(len(target)))
        terms = self.terms(student, teachers, batch)
        return LossOutput(weighted_sum(terms, self.loss.weights_at(batch.step, batch.epoch)), terms)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum of terms times weights. One of weight zero is left out, so that it cannot spoil the gradient."""
    weighted = [weights[name] * value for name, value in terms.items() if weights[name] > 0]
    return torch.stack(weighted).sum() if weighted else torch.zeros((), device=next(iter(terms.values())).device)


def linear_warmup(epochs_done: float, warmup_epochs: float) -> float:
    """The factor of a linear warm-up: epochs done over those that it takes, at most 1; 1 where it takes none."""
    return min(epochs_done / warmup_epochs, 1.0) if warmup_epochs else 1.0


def two_digits(value: float) -> float:
    """A number rounded to two significant digits, as a person would write a weight."""
    return float(f"{value:.2g}")
