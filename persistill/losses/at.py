"""AT: attention transfer (Zagoruyko and Komodakis 2017, "Paying More Attention to Attention")."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.losses.base import AutoconfigContext, DistillationLoss, Suggestion, two_digits
from persistill.losses.functional import full_precision, match_maps, normalize_rows, to_common_size
from persistill.structures import ModelOutput


def attention(features: Tensor) -> Tensor:
    """Where a network looks: the mean of squares over channels, scaled to unit norm over positions.

    Args:
        features: (B, C, H, W).

    Returns:
        (B, H W).
    """
    return normalize_rows(full_precision(features).square().mean(1).flatten(1))


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two attention maps, over batch and positions.

    Maps of different height or width are first averaged down to the smaller of the two.

    Args:
        student: (B, C, H, W), one stage's map.
        teacher: (B, C', H', W'), of the same batch.

    Returns:
        A scalar, 0 or more.
    """
    one, other = to_common_size(student, teacher)
    return F.mse_loss(attention(one), attention(other))


class AT(DistillationLoss):
    """The student looks where its first teacher looks. One term, "at", the sum over all stages that can be paired.

    Attributes:
        weight: of the term; 1000 is usual for this form, a mean over positions and a sum over stages (RepDistiller).
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 1000.0

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The published weight, lowered for images below 32 x 32: the term grows as maps get smaller."""
        return Suggestion(cls(weight=two_digits(1000.0 * context.relative_area)))

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "at": sum over stages of ``attention_transfer``, a scalar.

        Raises:
            UserError: if stages cannot be paired.
        """
        pairs = match_maps(student.feature_maps, teachers[0].feature_maps)
        return {"at": torch.stack([attention_transfer(*pair) for pair in pairs]).sum()}
