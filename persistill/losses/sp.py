"""SP: similarity-preserving distillation (Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation")."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.losses.base import AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import match_maps, similarity
from persistill.structures import ModelOutput


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two similarity matrices: ||M_T - M_S||_F^2 / B^2.

    Args:
        student: (B, ...), one stage's map.
        teacher: (B, ...), of the same batch; all other sizes may differ.

    Returns:
        A scalar, 0 or more.
    """
    return F.mse_loss(similarity(student), similarity(teacher))


class SP(DistillationLoss):
    """Images that are alike for the first teacher become alike for the student. One term, "sp".

    Attributes:
        weight: of the term; 3000 is usual (RepDistiller, there on the last stage alone).
        maps: the student's stages that are compared, each with the teacher's stage that is as far from the last;
            None for all that have such a partner. The term is the mean over them.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 3000.0
    maps: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The published weight, lowered with batches below 128: the term grows as one over the batch."""
        return Suggestion(cls(weight=context.per_pair(3000.0, 128)))

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "sp": mean over stages of ``similarity_preserving``, a scalar.

        Raises:
            UserError: if stages cannot be paired.
        """
        pairs = match_maps(student.feature_maps, teachers[0].feature_maps, self.maps)
        return {"sp": torch.stack([similarity_preserving(*pair) for pair in pairs]).mean()}
