"""Levels compared apart inside and outside of boxes (after Guo et al. 2021, CVPR, "Distilling Object Detectors via
Decoupled Features").
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.detection.level_adapters import adapt_level, make_adapters
from persistill.losses.detection.levels import LevelPair, foreground, image_size, match_levels
from persistill.losses.functional import full_precision
from persistill.structures import Batch, ModelOutput


def box_feature_difference(student: Tensor, teacher: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared difference of two levels at the places of objects, and at the others.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H, W).
        inside: (B, H, W) bool, where objects are.

    Returns:
        Two scalars, each the mean over its places of the whole batch and over channels; 0 where there are none.
    """
    squares = (full_precision(student) - full_precision(teacher)).square().mean(1)
    objects, background = (
        (squares * mask).sum() / mask.sum().clamp(min=1)
        for mask in (inside.to(squares.dtype), (~inside).to(squares.dtype))
    )
    return objects, background


class BoxFeature(DistillationLoss):
    """The first teacher's levels, inside and outside of the boxes. Terms "box_objects" and "box_background".

    Means over places, and over levels. A 1x1 convolution that is trained along brings the student to the teacher's
    channels where they differ.

    Attributes:
        objects: weight of "box_objects".
        background: weight of "box_background".
    """

    required_outputs = frozenset({"feature_maps"})

    objects: Annotated[float, Field(ge=0)] = 1.0
    background: Annotated[float, Field(ge=0)] = 1.0

    @property
    def weights(self) -> Mapping[str, float]:
        """The two weights."""
        return {"box_objects": self.objects, "box_background": self.background}

    def build(self, context: MethodContext) -> LossModule:
        """The adapters, one a pair of levels.

        Raises:
            UserError: if levels cannot be paired.
        """
        return _BoxFeature(self, match_levels(context.student.feature_maps, context.teachers[0].feature_maps))


class _BoxFeature(LossModule):
    loss: BoxFeature

    def __init__(self, loss: BoxFeature, pairs: Sequence[LevelPair]) -> None:
        super().__init__(loss)
        self.adapters = make_adapters(pairs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs, image = match_levels(student.feature_maps, teachers[0].feature_maps), image_size(student, "BoxFeature")
        found = []
        for pair, adapter in zip(pairs, self.adapters, strict=True):
            inside = foreground(batch.target, (pair.teacher.shape[2], pair.teacher.shape[3]), image) > 0
            found.append(torch.stack(box_feature_difference(adapt_level(adapter, pair.student), pair.teacher, inside)))
        return dict(zip(self.loss.weights, torch.stack(found).mean(0).unbind(), strict=True))
