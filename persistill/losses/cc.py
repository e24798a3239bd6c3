"""CC: correlation congruence (Peng et al. 2019, ICCV, arXiv 1904.01802), in the paper's form and a benchmark's."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import check_batches, full_precision, gram, normalize_rows
from persistill.structures import Batch, ModelOutput


def correlation_congruence(student: Tensor, teacher: Tensor, gamma: float = 0.4, order: int = 2) -> Tensor:
    """Mean squared difference of two tables of correlations between images, by a Gaussian kernel: the paper's form.

    On unit vectors exp(-gamma ||x - y||^2) is exp(-2 gamma) exp(2 gamma x . y); its Taylor series in x . y is cut.

    Args:
        student: (B, ...), flattened behind the batch axis.
        teacher: (B, ...), of the same batch; all other sizes may differ.
        gamma: of the kernel, above 0.
        order: of the last term of the series, 1 or more.

    Returns:
        A scalar, 0 or more: the mean over all B^2 pairs.

    Raises:
        UserError: if the batches differ.
    """
    check_batches(student, teacher, "embeddings")
    return F.mse_loss(_correlations(student, gamma, order), _correlations(teacher, gamma, order))


def _correlations(features: Tensor, gamma: float, order: int) -> Tensor:
    cosines = gram(normalize_rows(features.flatten(1)))
    terms = [(2 * gamma) ** power / math.factorial(power) * cosines**power for power in range(order + 1)]
    return math.exp(-2 * gamma) * torch.stack(terms).sum(0)


def neighbor_congruence(student: Tensor, teacher: Tensor) -> Tensor:
    """How much of two neighbors' distance from the teacher lies in the same directions: RepDistiller's form.

    With d the absolute differences of student and teacher, the inner product of d of one image and d of the next.

    Args:
        student: (B, D).
        teacher: (B, D), of the same batch.

    Returns:
        A scalar, 0 or more: the mean over the B - 1 pairs of neighbors; 0 for one image.

    Raises:
        UserError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise UserError(
            "distances of neighbors are taken number by number; the student's embeddings have the shape "
            f"{tuple(student.shape)}, the teacher's {tuple(teacher.shape)}. Bring them to one width first, as CC does."
        )
    distance = (full_precision(student) - full_precision(teacher)).abs()
    return (distance[:-1] * distance[1:]).sum() / max(len(distance) - 1, 1)


class CC(DistillationLoss):
    """Embeddings that correlate over the batch as the first teacher's do. One term, "cc".

    Attributes:
        weight: of the term; 0.02 is RepDistiller's, for its form.
        form: "neighbors", ``neighbor_congruence`` of two trained linear layers, as RepDistiller has it
            (its author names the authors' code as the source), or "kernel", ``correlation_congruence``, as the paper
            has it.
        dim: width of the two layers ("neighbors").
        gamma: of the kernel ("kernel").
        order: of the last term of its Taylor series ("kernel").
    """

    required_outputs = frozenset({"embedding"})

    weight: Annotated[float, Field(ge=0)] = 0.02
    form: Literal["neighbors", "kernel"] = "neighbors"
    dim: Annotated[int, Field(ge=1)] = 128
    gamma: Annotated[float, Field(gt=0)] = 0.4
    order: Annotated[int, Field(ge=1)] = 2

    def build(self, context: MethodContext) -> LossModule:
        """The two linear layers; nothing that learns for the form "kernel"."""
        if self.form == "kernel":
            return _Kernel(self)
        return _Layers(self, context.student.embedding.shape[1], context.teachers[0].embedding.shape[1])


class _Kernel(LossModule):
    def __init__(self, loss: CC) -> None:
        super().__init__(loss)
        self._gamma, self._order = loss.gamma, loss.order

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pair = student.embedding, teachers[0].embedding
        return {"cc": correlation_congruence(*pair, self._gamma, self._order)}


class _Layers(LossModule):
    def __init__(self, loss: CC, width: int, teacher_width: int) -> None:
        super().__init__(loss)
        self.student, self.teacher = nn.Linear(width, loss.dim), nn.Linear(teacher_width, loss.dim)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        check_batches(student.embedding, teachers[0].embedding, "embeddings")
        pair = apply(self.student, student.embedding), apply(self.teacher, teachers[0].embedding)
        return {"cc": neighbor_congruence(*pair)}
