"""FitNet: hints from a stage in the middle (Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import ConvNorm
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import full_precision, match_maps, to_common_size
from persistill.structures import Batch, ModelOutput


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two maps of as many channels.

    Maps of different height or width are first averaged down to the smaller of the two.

    Args:
        student: (B, C, H, W), brought to the teacher's channels.
        teacher: (B, C, H', W').

    Returns:
        A scalar, 0 or more.

    Raises:
        UserError: if batch or channels differ.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise UserError(
            f"hints compare channel with channel; the student's map has the shape {tuple(student.shape)}, the "
            f"teacher's {tuple(teacher.shape)}. Bring the student to the teacher's channels first, as FitNet does."
        )
    one, other = to_common_size(student, teacher)
    return F.mse_loss(full_precision(one), full_precision(other))


class FitNet(DistillationLoss):
    """The student's maps match the first teacher's, after a trained 1x1 convolution. One term, "fitnet".

    Attributes:
        weight: of the term; 100 is usual (RepDistiller).
        maps: the student's stages that are compared, each with the teacher's stage that is as far from the last;
            None for the middle one of those that have such a partner. The term is the mean over them.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 100.0
    maps: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    def build(self, context: MethodContext) -> LossModule:
        """The regressors, a convolution and batch normalization for each stage that is compared.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _Regressors(self, context)


class _Regressors(LossModule):
    def __init__(self, loss: FitNet, context: MethodContext) -> None:
        super().__init__(loss)
        self._maps = loss.maps
        pairs = self._pairs(context.student.feature_maps, context.teachers[0].feature_maps)
        self.regressors = nn.ModuleList(ConvNorm(one.shape[1], other.shape[1]) for one, other in pairs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs = [to_common_size(*pair) for pair in self._pairs(student.feature_maps, teachers[0].feature_maps)]
        differences = [
            hint_loss(regressor(one), other) for regressor, (one, other) in zip(self.regressors, pairs, strict=True)
        ]
        return {"fitnet": torch.stack(differences).mean()}

    def _pairs(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        pairs = match_maps(student, teacher, self._maps)
        return [pairs[(len(pairs) - 1) // 2]] if self._maps is None else pairs
