"""AB: activation boundaries (Heo, Lee, Yun and Choi 2019, AAAI, arXiv 1811.03233)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import ConvNorm
from persistill.losses.base import AutoconfigContext, DistillationLoss, LossModule, MethodContext, Suggestion
from persistill.losses.functional import full_precision, match_maps, to_common_size
from persistill.structures import Batch, ModelOutput


def activation_boundary(student: Tensor, teacher: Tensor, margin: float = 1.0) -> Tensor:
    """How far a map is from having every neuron on the teacher's side of zero, with a margin: the paper's loss.

    A neuron of the teacher that is above 0 asks for ``margin`` or more, any other for ``-margin`` or less; what is
    missing is squared.

    Args:
        student: (B, C, H, W), before activation, brought to the teacher's shape.
        teacher: (B, C, H, W), before or after a ReLU, which have the same boundary.
        margin: above 0.

    Returns:
        A scalar, 0 or more: the sum over neurons, a mean over images.

    Raises:
        UserError: if the shapes differ.
    """
    if student.shape != teacher.shape:
        raise UserError(
            f"neurons are compared one by one; the student's map has the shape {tuple(student.shape)}, the teacher's "
            f"{tuple(teacher.shape)}. Bring the student's to the teacher's shape first, as AB does."
        )
    side = torch.where(teacher > 0, 1.0, -1.0)
    missing = (margin - side * full_precision(student)).clamp(min=0)
    return missing.square().flatten(1).sum(1).mean()


class AB(DistillationLoss):
    """Neurons are active where the first teacher's are, after a trained 1x1 convolution. One term, "ab".

    The term is the sum over the stages that can be paired, the last with weight 1, each one before with half of that.
    It is meant for an arm of its own, whose student another arm starts from.

    Attributes:
        weight: of the term; 0.003 is usual (RepDistiller, as 1 times a factor in its code).
        margin: by which neurons shall be on the right side.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 0.003
    margin: Annotated[float, Field(gt=0)] = 1.0

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:  # noqa: ARG003 - the same for all images
        """A training that comes before the others, as published."""
        return Suggestion(cls(), before_others=True)

    def build(self, context: MethodContext) -> LossModule:
        """The connectors, a convolution and batch normalization for each stage.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _Connectors(self, context)


class _Connectors(LossModule):
    def __init__(self, loss: AB, context: MethodContext) -> None:
        super().__init__(loss)
        self._margin = loss.margin
        pairs = match_maps(context.student.feature_maps, context.teachers[0].feature_maps)
        self.connectors = nn.ModuleList(ConvNorm(one.shape[1], other.shape[1]) for one, other in pairs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs = [to_common_size(*pair) for pair in match_maps(student.feature_maps, teachers[0].feature_maps)]
        stages = [
            activation_boundary(connector(one), other, self._margin)
            for connector, (one, other) in zip(self.connectors, pairs, strict=True)
        ]
        shares = [0.5**before for before in reversed(range(len(stages)))]
        return {"ab": torch.stack([share * stage for share, stage in zip(shares, stages, strict=True)]).sum()}
