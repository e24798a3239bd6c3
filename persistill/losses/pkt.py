"""PKT: probabilistic knowledge transfer (Passalis and Tefas 2018, ECCV, arXiv 1803.10837)."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from persistill.losses.base import AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import check_batches, gram, normalize_rows
from persistill.structures import ModelOutput


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of the probabilities that images choose each other as neighbors.

    An image chooses among the batch, itself included, in proportion to (1 + cosine) / 2.

    Args:
        student: (B, ...), flattened behind the batch axis.
        teacher: (B, ...), of the same batch; all other sizes may differ.

    Returns:
        A scalar, 0 or more: the divergence's sum divided by B^2, the mean over all pairs, as RepDistiller computes it.

    Raises:
        UserError: if the batches differ.
    """
    check_batches(student, teacher, "embeddings")
    p, q = _neighbors(teacher), _neighbors(student)
    return (p * (p.log() - q.log())).mean()


def _neighbors(features: Tensor) -> Tensor:
    """(B, B), rows that sum to 1. Opposite images keep a share of 1e-7, so that the logarithm exists."""
    cosines = gram(normalize_rows(features.flatten(1)))
    affinity = ((1 + cosines) / 2).clamp(min=0) + 1e-7
    return affinity / affinity.sum(1, keepdim=True)


class PKT(DistillationLoss):
    """Images choose their neighbors as in the first teacher's embedding. One term, "pkt".

    Attributes:
        weight: of the term; 30000 is usual (RepDistiller).
    """

    required_outputs = frozenset({"embedding"})

    weight: Annotated[float, Field(ge=0)] = 30000.0

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The published weight, lowered with batches below 64: the term grows as one over the batch."""
        return Suggestion(cls(weight=context.per_pair(30000.0, 64)))

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "pkt": ``pkt_loss`` of the embeddings, a scalar.

        Raises:
            UserError: if the batches differ.
        """
        return {"pkt": pkt_loss(student.embedding, teachers[0].embedding)}
