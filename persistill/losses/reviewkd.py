"""ReviewKD: distilling knowledge via knowledge review (Chen, Liu, Zhao and Jia 2021, CVPR, arXiv 2104.09044)."""

from collections.abc import Sequence
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import ConvNorm, apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext, linear_warmup
from persistill.losses.functional import check_batches, full_precision, match_maps
from persistill.structures import Batch, ModelOutput

_LEVELS = (4, 2, 1)
_MOST_CHANNELS = 512


def hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two maps as they are and averaged down to 4x4, 2x2 and 1x1: the paper's HCL.

    Each level counts half as much as the one before, and the weights sum to 1. Sizes that are not smaller than the maps
    are left out.

    Args:
        student: (B, C, H, W), brought to the teacher's shape.
        teacher: (B, C, H, W).

    Returns:
        A scalar, 0 or more.

    Raises:
        UserError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise UserError(
            f"maps are compared place by place; the student's has the shape {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}. Bring the student's to the teacher's shape first, as ReviewKD does."
        )
    one, other = full_precision(student), full_precision(teacher)
    smaller = [side for side in _LEVELS if side < min(one.shape[2:])]
    levels = [(one, other), *((F.adaptive_avg_pool2d(one, s), F.adaptive_avg_pool2d(other, s)) for s in smaller)]
    weights = [0.5**level for level in range(len(levels))]
    differences = [weight * F.mse_loss(*level) for weight, level in zip(weights, levels, strict=True)]
    return torch.stack(differences).sum() / sum(weights)


class ReviewKD(DistillationLoss):
    """Maps of the first teacher from the student's maps of the same stage and all later ones. One term, "reviewkd".

    Attributes:
        weight: of the term; the authors' are 0.6 to 8 by pair, and most often 5.
        warmup_epochs: over which the weight rises linearly from 0 in the first epoch; the authors take 20 on CIFAR-100.
            0 for none.
    """

    required_outputs = frozenset({"feature_maps", "embedding"})

    weight: Annotated[float, Field(ge=0)] = 5.0
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0

    @classmethod
    def published(cls) -> Self:
        """The authors' settings on CIFAR-100, with the weight that they take most often."""
        return cls(weight=5.0, warmup_epochs=20.0)

    def schedule(self, step: int, epoch: int) -> float:
        """The share of the warm-up, of which the authors count the first epoch as 0."""
        return linear_warmup(epoch, self.warmup_epochs)

    def build(self, context: MethodContext) -> LossModule:
        """The fusions, one for each stage that can be paired and one for the embedding.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _Review(self, context)


class _Review(LossModule):
    def __init__(self, loss: ReviewKD, context: MethodContext) -> None:
        super().__init__(loss)
        pairs = _pairs(context.student, context.teachers[0])
        between = min(_MOST_CHANNELS, context.student.embedding.shape[1])
        self.fusions = nn.ModuleList(
            _Fusion(one.shape[1], between, other.shape[1], fuse=position > 0)
            for position, (one, other) in enumerate(pairs)
        )

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        differences, later = [], None
        for fusion, (own, wanted) in zip(self.fusions, _pairs(student, teachers[0]), strict=True):
            reached, later = fusion(own, later, wanted.shape[2:])
            differences.append(hierarchical_context(reached, wanted))
        return {"reviewkd": torch.stack(differences).sum()}


def _pairs(student: ModelOutput, teacher: ModelOutput) -> list[tuple[Tensor, Tensor]]:
    """The embeddings, as maps of one place, and the stages from the last to the first."""
    check_batches(student.embedding, teacher.embedding, "embeddings")
    last = student.embedding[:, :, None, None], teacher.embedding[:, :, None, None]
    return [last, *reversed(match_maps(student.feature_maps, teacher.feature_maps))]


class _Fusion(nn.Module):
    """A stage's own map and what came from later stages, weighed place by place: the paper's ABF."""

    def __init__(self, channels: int, between: int, wanted: int, *, fuse: bool) -> None:
        super().__init__()
        self.narrow, self.widen = ConvNorm(channels, between), ConvNorm(between, wanted, kernel=3)
        self.attention = nn.Conv2d(2 * between, 2, 1) if fuse else None

    def forward(self, own: Tensor, later: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A map for the teacher of that size, and the map between, for the stage before."""
        fused = self.narrow(own)
        if self.attention is not None and later is not None:
            later = F.interpolate(later, fused.shape[2:])
            weights = torch.sigmoid(apply(self.attention, torch.cat([fused, later], dim=1)))
            fused = weights[:, :1] * fused + weights[:, 1:] * later
        fused = F.interpolate(fused, tuple(size))
        return self.widen(fused), fused
