"""PKD: Pearson correlation of levels (Cao et al. 2022, NeurIPS, "PKD: General Distillation Framework for Object
Detectors via Pearson Correlation Coefficient").
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.base import DistillationLoss
from persistill.losses.detection.levels import match_levels
from persistill.losses.functional import normalize_deviations
from persistill.structures import ModelOutput


def correlated_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of two maps whose channels have mean 0 and deviation 1 over the batch.

    It is (n - 1) / n times one minus the mean Pearson correlation of the channels, with n = B H W: scale and shift of a
    channel do not matter. The statistics are those of the whole batch, on several devices as well.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H, W).

    Returns:
        A scalar, 0 to 2. A channel that is constant counts as 0 everywhere and passes no gradient.

    Raises:
        UserError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise UserError(
            f"PKD compares channel with channel and has no adapter; the student's level has the shape "
            f"{tuple(student.shape)}, the teacher's {tuple(teacher.shape)}. Give both the same width, as in "
            "fcos-256:NAME, or use a loss with an adapter (FGD, MGD, OnLevels(loss=FitNet()))."
        )
    with torch.autocast(student.device.type, enabled=False):
        # Unit vectors: their differences are those of unit deviations times the root of n - 1.
        ours, theirs = (normalize_deviations(maps.transpose(0, 1).flatten(1)) for maps in (student, teacher))
        count = ours.shape[1]
        return (count - 1) / count * (ours - theirs).square().sum(1).mean() / 2


class PKD(DistillationLoss):
    """Levels whose channels correlate with the first teacher's. One term, "pkd": the sum over levels.

    No parameter is trained along and no box is needed: cheap, and as good as any. Student and teacher need the same
    width of their levels.

    Attributes:
        weight: of the term; 6 is the authors', for Faster R-CNN.
        first: of the paired levels, from fine to coarse, how many are used; None for all. The authors use four.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 6.0
    first: Annotated[int, Field(ge=1)] | None = 4

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "pkd", a scalar."""
        pairs = match_levels(student.feature_maps, teachers[0].feature_maps)[: self.first]
        return {"pkd": torch.stack([correlated_difference(*pair) for pair in pairs]).sum()}
