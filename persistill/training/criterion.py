"""The training loss of an arm: one sum of named, weighted terms."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses import DistillationLoss, LossModule, LossOutput, MethodContext, weighted_sum
from persistill.structures import Batch, ModelOutput
from persistill.training.training_task import TrainingTask


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


def _build(
    loss: DistillationLoss, losses: Sequence[DistillationLoss], contexts: Sequence[MethodContext], position: int
) -> LossModule:
    if len(contexts) == len(losses):
        return loss.build(contexts[position])
    if type(loss).build is DistillationLoss.build:
        return LossModule(loss)
    raise UserError(
        f"{type(loss).__name__} has parts that are trained along, and needs to know what for: {len(contexts)} "
        f"context(s) were given for {len(losses)} loss(es); give one each."
    )


class NonFiniteGuard:
    """Remembers which terms were not finite first, without waiting for the device at every step.

    Args:
        names: of the terms, in the order in which they are observed.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._finite: Tensor | None = None

    def observe(self, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of one step. Once one was not finite, later steps tell nothing: they all suffer from it."""
        finite = torch.stack([value.detach().isfinite() for value in terms.values()])
        self._finite = finite if self._finite is None else torch.where(self._finite.all(), finite, self._finite)

    def check(self, where: str) -> None:
        """Stop a training that has diverged.

        Raises:
            UserError: naming the terms that were not finite first.
        """
        if self._finite is None or self._finite.all():
            return
        bad = [name for name, good in zip(self._names, self._finite.tolist(), strict=True) if not good]
        raise UserError(
            f"{where}: the loss is not finite any more; the first term(s) that were not: {', '.join(bad)}. Lower "
            "train.lr, set train.clip_norm=1.0, or train with train.precision=fp32; the last good checkpoint was kept."
        )
