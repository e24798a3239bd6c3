"""ICKD-C: inter-channel correlation (Liu et al. 2021, ICCV, arXiv 2202.03680), in the form of the authors' code."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import ConvNorm
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import full_precision, match_maps, normalize_rows
from persistill.structures import Batch, ModelOutput


def channel_correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of two tables of inner products between channels, row by row, a mean over rows and images.

    Each row, one channel's products with all channels of the same image, is scaled to unit norm. Height and width
    may differ. Memory grows with B C^2.

    Args:
        student: (B, C, H, W), brought to the teacher's channels.
        teacher: (B, C, H', W'), of the same batch.

    Returns:
        A scalar, 0 to 4.

    Raises:
        UserError: if batch or channels differ.
    """
    if student.shape[:2] != teacher.shape[:2]:
        raise UserError(
            f"relations of channel with channel are compared; the student's map has the shape {tuple(student.shape)}, "
            f"the teacher's {tuple(teacher.shape)}. Bring the student to the teacher's channels first, as ICKD does."
        )
    return (_products(student) - _products(teacher)).square().sum(1).mean()


def _products(features: Tensor) -> Tensor:
    """(B, C, H, W) to (B C, C), rows of unit norm; the row of a dead channel is zero."""
    with torch.autocast(features.device.type, enabled=False):
        flat = full_precision(features).flatten(2)
        return normalize_rows((flat @ flat.transpose(1, 2)).flatten(0, 1))


class ICKD(DistillationLoss):
    """Channels that relate to each other as the first teacher's do, after a 1x1 convolution. One term, "ickd".

    Attributes:
        weight: of the term; 2.5 is the authors'.
        maps: the student's stages that are compared, each with the teacher's stage that is as far from the last;
            None for the last. The term is the mean over them.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 2.5
    maps: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    def build(self, context: MethodContext) -> LossModule:
        """The adapters, a convolution and batch normalization for each stage that is compared.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _Adapters(self, context)


class _Adapters(LossModule):
    def __init__(self, loss: ICKD, context: MethodContext) -> None:
        super().__init__(loss)
        self._maps = loss.maps
        pairs = self._pairs(context.student.feature_maps, context.teachers[0].feature_maps)
        self.adapters = nn.ModuleList(ConvNorm(one.shape[1], other.shape[1]) for one, other in pairs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs = self._pairs(student.feature_maps, teachers[0].feature_maps)
        distances = [
            channel_correlation(adapter(one), other) for adapter, (one, other) in zip(self.adapters, pairs, strict=True)
        ]
        return {"ickd": torch.stack(distances).mean()}

    def _pairs(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
        pairs = match_maps(student, teacher, self._maps)
        return pairs[-1:] if self._maps is None else pairs
