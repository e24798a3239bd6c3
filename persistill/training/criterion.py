"""The training loss of an arm: one sum of named, weighted terms."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses import DistillationLoss, LossModule, LossOutput, MethodContext, weighted_sum
from persistill.structures import Batch, ModelOutput, OutputField
from persistill.training.training_task import TrainingTask
from persistill.utils.units import counted


class Criterion(nn.Module):
    """``cross_entropy * supervised + sum(weight * term)`` over the task's terms and those of all distillation losses.

    Its parameters are the trainable parts of the losses; most have none.

    Args:
        losses: distillation losses.
        task: gives the supervised terms; that of classification is the cross-entropy, "ce".
        cross_entropy: weight of the supervised terms.
        label_smoothing: share of the target that is spread over all classes there.
        contexts: what the losses are built for, one a loss; may be left out where none has trainable parts.

    Attributes:
        weights: term name -> weight, without the factors of a schedule. Where two losses share a term's name,
            the loss's name stands before it ("KD.kd").
        required_outputs: what is read of outputs by the task or any of the losses.
    """

    def __init__(
        self,
        losses: Sequence[DistillationLoss] = (),
        *,
        task: TrainingTask,
        cross_entropy: float = 1.0,
        label_smoothing: float = 0.0,
        contexts: Sequence[MethodContext] = (),
    ) -> None:
        super().__init__()
        self.task = task
        self._label_smoothing, self._settings = label_smoothing, tuple(losses)
        self._losses = nn.ModuleList(_build(loss, losses, contexts, position) for position, loss in enumerate(losses))
        counts = Counter(name for loss in losses for name in loss.weights)
        self._names = [
            {name: name if counts[name] == 1 else f"{type(loss).__name__}.{name}" for name in loss.weights}
            for loss in losses
        ]
        self.weights: dict[str, float] = dict.fromkeys(task.terms, cross_entropy)
        for loss, names in zip(losses, self._names, strict=True):
            for name, weight in loss.weights.items():
                if names[name] in self.weights:
                    raise UserError(f"two methods of one arm are both {names[name]!r}; use one, with the sum of both.")
                self.weights[names[name]] = weight
        self.required_outputs = task.required_outputs.union(*(_read(loss) for loss in losses))

    def weights_at(self, step: int, epoch: int) -> dict[str, float]:
        """The weights times the factors of the losses' schedules.

        Args:
            step: of the whole training, from 0.
            epoch: from 0.
        """
        weights = {name: self.weights[name] for name in self.task.terms}
        for loss, names in zip(self._settings, self._names, strict=True):
            weights |= {names[name]: weight for name, weight in loss.weights_at(step, epoch).items()}
        return weights

    def forward(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> LossOutput:
        """The weighted sum, and all unweighted terms: scalars of float32, in the order of ``weights``.

        A term of weight zero is left out of the sum, so that it cannot spoil the gradient.

        Args:
            student: outputs for the batch, with gradient.
            teachers: outputs for the same images, in the arm's order.
            batch: the batch itself, with its step and epoch.

        Raises:
            UserError: if no term has a weight at this step.
        """
        terms = self.task.criterion(student, batch, label_smoothing=self._label_smoothing)
        for module, names in zip(self._losses, self._names, strict=True):
            terms |= {names[name]: value.float() for name, value in module(student, teachers, batch).terms.items()}
        weights = self.weights_at(batch.step, batch.epoch)
        if not any(weights.values()):
            raise UserError(
                "all weights of the arm are zero: there is nothing to learn from. Where a schedule begins at zero, "
                "give the cross-entropy a weight."
            )
        return LossOutput(weighted_sum(terms, weights), terms)


def _read(loss: DistillationLoss) -> frozenset[OutputField]:
    """What a loss reads of outputs: all, where it does not say."""
    if type(loss).required_outputs is DistillationLoss.required_outputs:
        return frozenset(get_args(OutputField))
    return loss.required_outputs


def _build(
    loss: DistillationLoss, losses: Sequence[DistillationLoss], contexts: Sequence[MethodContext], position: int
) -> LossModule:
    if len(contexts) == len(losses):
        return loss.build(contexts[position])
    if type(loss).build is DistillationLoss.build:
        return LossModule(loss)
    raise UserError(
        f"{type(loss).__name__} has parts that are trained along, and needs to know what for: "
        f"{counted(len(contexts), 'context')} given for {counted(len(losses), 'loss', 'losses')}; give one each."
    )


_ADVICE = (
    "Lower train.lr, set train.clip_norm=1.0, or train with train.precision=fp32; the last good checkpoint was kept."
)


class NonFiniteLossError(UserError):
    """A training diverged.

    Attributes:
        step: the first whose loss was not finite, from 0.
        terms: name -> value, of that step.
    """

    def __init__(self, message: str, step: int, terms: Mapping[str, float]) -> None:
        super().__init__(message)
        self.step, self.terms = step, dict(terms)


class NonFiniteGuard:
    """Remembers at which step terms were not finite first, without waiting for the device at every step.

    Args:
        names: of the terms, in the order in which they are observed.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._values: Tensor | None = None
        self._step: Tensor | None = None

    def observe(self, terms: Mapping[str, Tensor], step: int) -> None:
        """Look at the terms of one step. Once one was not finite, later steps tell nothing: they all suffer from it."""
        now = torch.stack([value.detach().float() for value in terms.values()])
        number = torch.full((), step, device=now.device)
        if self._values is None or self._step is None:
            self._values, self._step = now, number
        else:
            finite = self._values.isfinite().all()
            self._values, self._step = torch.where(finite, now, self._values), torch.where(finite, number, self._step)

    def check(self, where: str) -> None:
        """Stop a training that has diverged.

        Raises:
            NonFiniteLossError: naming the step and the terms that were not finite first.
        """
        if self._values is None or self._step is None or self._values.isfinite().all():
            return
        terms = dict(zip(self._names, self._values.tolist(), strict=True))
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        step = int(self._step)
        raise NonFiniteLossError(
            f"{where}: the loss is not finite any more, from step {step + 1} on; there these terms were not: "
            f"{', '.join(bad)}. {_ADVICE}",
            step,
            terms,
        )

    def check_weights(self, where: str, network: nn.Module) -> None:
        """Stop a training whose last gradient was not finite, before anybody asks its network.

        Raises:
            NonFiniteLossError: naming the first weights that are not finite.
        """
        self.check(where)
        bad = [name for name, value in network.named_parameters() if not value.isfinite().all()]
        if bad and self._values is not None and self._step is not None:
            raise NonFiniteLossError(
                f"{where}: the loss was finite, and its gradient was not: {len(bad)} weights are not finite any more, "
                f"the first is {bad[0]}. {_ADVICE}",
                int(self._step),
                dict(zip(self._names, self._values.tolist(), strict=True)),
            )
