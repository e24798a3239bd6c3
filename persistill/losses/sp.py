"""SP: similarity-preserving distillation (Tung and Mori 2019, "Similarity-Preserving Knowledge Distillation")."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.losses.functional import match_maps, similarity
from persistill.settings import Settings
from persistill.structures import ModelOutput, OutputField


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two similarity matrices: ||M_T - M_S||_F^2 / B^2.

    Args:
        student: (B, ...), one stage's map.
        teacher: (B, ...), of the same batch; all other sizes may differ.

    Returns:
        A scalar, 0 or more.
    """
    return F.mse_loss(similarity(student), similarity(teacher))


class SP(Settings):
    """Images that are alike for the first teacher become alike for the student. One term, "sp".

    Attributes:
        weight: of the term; 3000 is usual (RepDistiller, there on the last stage alone).
        maps: the student's stages that are compared, each with the teacher's stage that is as far from the last;
            None for all that have such a partner. The term is the mean over them.
    """

    weight: Annotated[float, Field(ge=0)] = 3000.0
    maps: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @property
    def teachers_needed(self) -> int:
        """One."""
        return 1

    @property
    def reads(self) -> frozenset[OutputField]:
        """What the terms read of a teacher."""
        return frozenset({"feature_maps"})

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of "sp"."""
        return {"sp": self.weight}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "sp": mean over stages of ``similarity_preserving``, a scalar.

        Raises:
            UserError: if stages cannot be paired.
        """
        pairs = match_maps(student.feature_maps, teachers[0].feature_maps, self.maps)
        return {"sp": torch.stack([similarity_preserving(*pair) for pair in pairs]).mean()}
