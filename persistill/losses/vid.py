"""VID: variational information distillation (Ahn, Hu, Damianou, Lawrence and Dai 2019, CVPR, arXiv 1904.05835)."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import full_precision, match_maps, to_common_size
from persistill.structures import Batch, ModelOutput

_FIRST_VARIANCE = 5.0
_LEAST_VARIANCE = 1e-5


def gaussian_nll(mean: Tensor, variance: Tensor, teacher: Tensor) -> Tensor:
    """Negative log-likelihood of a teacher's map under a normal distribution, a mean over all numbers.

    The constant log(2 pi) / 2 is left out. The value is log(variance) / 2 where the mean is the teacher's map, which is
    its least for that variance; where the mean is not, the best variance is the mean squared difference.

    Args:
        mean: (B, C, H, W), what the student expects.
        variance: (C,), above 0.
        teacher: (B, C, H, W).

    Returns:
        A scalar, of either sign.
    """
    spread = full_precision(variance)[:, None, None]
    squares = (full_precision(mean) - full_precision(teacher)).square()
    return ((squares / spread + spread.log()) / 2).mean()


class VID(DistillationLoss):
    """Maps that predict the first teacher's. One term, "vid", the sum over all stages that can be paired.

    Attributes:
        weight: of the term; 1 is usual (RepDistiller).
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 1.0

    def build(self, context: MethodContext) -> LossModule:
        """The predictors, one a stage: three 1x1 convolutions for the mean, and a variance for each of its channels.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _Predictors(self, context)


class _Predictors(LossModule):
    def __init__(self, loss: VID, context: MethodContext) -> None:
        super().__init__(loss)
        pairs = match_maps(context.student.feature_maps, context.teachers[0].feature_maps)
        self.predictors = nn.ModuleList(_Predictor(one.shape[1], other.shape[1]) for one, other in pairs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        surprises = []
        for predictor, pair in zip(
            self.predictors, match_maps(student.feature_maps, teachers[0].feature_maps), strict=True
        ):
            seen, wanted = to_common_size(*pair)
            mean, variance = predictor(seen)
            surprises.append(gaussian_nll(mean, variance, wanted))
        return {"vid": torch.stack(surprises).sum()}


class _Predictor(nn.Module):
    """The mean and variance of a teacher's map, given the student's."""

    def __init__(self, channels: int, wanted: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(channels, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
        )
        # Its softplus is the variance, less the least one.
        self.spread = nn.Parameter(torch.full((wanted,), math.log(math.expm1(_FIRST_VARIANCE - _LEAST_VARIANCE))))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return apply(self.mean, features), F.softplus(self.spread) + _LEAST_VARIANCE
