"""VID: variational information distillation (Ahn, Hu, Damianou, Lawrence and Dai 2019, CVPR, arXiv 1904.05835)."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.losses.adapters import apply
from persistill.losses.functional import full_precision, match_maps, to_common_size
from persistill.settings import Settings
from persistill.structures import Batch, MethodContext, ModelOutput, OutputField

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


class VID(Settings):
    """Maps from which the first teacher's can be guessed. One term, "vid", the sum over all stages that can be paired.

    Attributes:
        weight: of the term; 1 is usual (RepDistiller).
    """

    weight: Annotated[float, Field(ge=0)] = 1.0

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
        """The weight of "vid"."""
        return {"vid": self.weight}

    def learner(self, setting: MethodContext) -> nn.Module:
        """The guesses, one a stage: three 1x1 convolutions for the mean, and a variance for each of its channels.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _Guesses(setting)


class _Guesses(nn.Module):
    def __init__(self, setting: MethodContext) -> None:
        super().__init__()
        pairs = match_maps(setting.student.feature_maps, setting.teachers[0].feature_maps)
        self.guesses = nn.ModuleList(_Guess(one.shape[1], other.shape[1]) for one, other in pairs)

    def forward(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        surprises = []
        for guess, pair in zip(self.guesses, match_maps(student.feature_maps, teachers[0].feature_maps), strict=True):
            seen, wanted = to_common_size(*pair)
            mean, variance = guess(seen)
            surprises.append(gaussian_nll(mean, variance, wanted))
        return {"vid": torch.stack(surprises).sum()}


class _Guess(nn.Module):
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
