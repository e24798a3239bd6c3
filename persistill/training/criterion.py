"""The training loss of an arm: one sum of named, weighted terms."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.structures import Batch, LearningMethod, Method, MethodContext, ModelOutput, PureMethod


class Criterion(nn.Module):
    """``cross_entropy * CE + sum(weight * term)`` over all terms of all methods.

    Its parameters are the trainable parts of the methods; most have none.

    Args:
        methods: pure ones, or with parts that learn.
        cross_entropy: weight of the cross-entropy.
        label_smoothing: share of the target that is spread over all classes there.
        settings: what parts that learn are built for, one a method; empty where no method has any.

    Attributes:
        weights: term name -> weight; the cross-entropy is called "ce". Where two methods share a term's name, the
            method's name stands before it ("KD.kd").
    """

    def __init__(
        self,
        methods: Sequence[Method] = (),
        *,
        cross_entropy: float = 1.0,
        label_smoothing: float = 0.0,
        settings: Sequence[MethodContext] = (),
    ) -> None:
        super().__init__()
        self._methods = tuple(methods)
        self._label_smoothing = label_smoothing
        self._learners = nn.ModuleDict()
        for position, method in enumerate(self._methods):
            if isinstance(method, LearningMethod):
                if len(settings) != len(self._methods):
                    raise UserError(
                        f"{type(method).__name__} has parts that learn, and needs to know what for: {len(settings)} "
                        f"setting(s) were given for {len(self._methods)} method(s); give one each."
                    )
                self._learners[str(position)] = method.learner(settings[position])
        counts = Counter(name for method in methods for name in method.weights)
        self._names = [
            {name: name if counts[name] == 1 else f"{type(method).__name__}.{name}" for name in method.weights}
            for method in methods
        ]
        self.weights: dict[str, float] = {"ce": cross_entropy}
        for method, names in zip(self._methods, self._names, strict=True):
            for name, weight in method.weights.items():
                if names[name] in self.weights:
                    raise UserError(f"two methods of one arm are both {names[name]!r}; use one, with the sum of both.")
                self.weights[names[name]] = weight

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        """All unweighted terms, scalars of float32, in the order of ``weights``.

        Args:
            student: features of the batch with gradient.
            teachers: features of the same images, in the arm's order.
            batch: the batch itself.
        """
        logits = student.logits.float()
        terms = {"ce": F.cross_entropy(logits, batch.target, label_smoothing=self._label_smoothing)}
        for position, (method, names) in enumerate(zip(self._methods, self._names, strict=True)):
            if isinstance(method, PureMethod):
                found = method.terms(student, teachers, batch.target)
            else:
                found = self._learners[str(position)](student, teachers, batch)
            for name, value in found.items():
                terms[names[name]] = value.float()
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum. A term of weight zero is left out, so that it cannot spoil the gradient."""
        weighted = [self.weights[name] * value for name, value in terms.items() if self.weights[name] > 0]
        if not weighted:
            raise UserError("all weights of the arm are zero: there is nothing to learn from.")
        return torch.stack(weighted).sum()


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
