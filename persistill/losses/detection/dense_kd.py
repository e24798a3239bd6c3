"""Distillation of dense heads: the classes, boxes and centerness that a teacher gives to each place."""

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.base import DistillationLoss
from persistill.losses.functional import full_precision
from persistill.models.detection.output import DenseLevel, DetectionOutput
from persistill.structures import ModelOutput
from persistill.utils.units import counted


class DenseDivergence(NamedTuple):
    """What a level of a head is away from another, scalars: sums over places, weighted by the teacher's scores.

    Attributes:
        classes: divergence of the classes, in nats.
        boxes: mean absolute difference of the four numbers of a box.
        centerness: divergence of the centerness, in nats; 0 for heads without it.
        weight: the sum of the weights.
    """

    classes: Tensor
    boxes: Tensor
    centerness: Tensor
    weight: Tensor


def dense_divergence(
    student: DenseLevel, teacher: DenseLevel, temperature: float = 1.0, min_score: float = 0.05
) -> DenseDivergence:
    """Compare a level of two dense heads place by place, most where the teacher is sure of an object.

    The weight of a place and anchor is the teacher's score: the largest class probability, times the centerness where
    the head has it, or one minus the probability of the background in a softmax; 0 below ``min_score``. Of sigmoids the
    divergence is the sum over classes of KL(Bernoulli of the teacher || of the student), at a temperature whose square
    multiplies it; of a softmax KL(teacher || student).

    Args:
        student: one level.
        teacher: one level of the same places, anchors and classes.
        temperature: divides the class logits.
        min_score: places with a lower score teach nothing.
    """
    with torch.no_grad():
        score = score_places(teacher)
        weights = score.where(score >= min_score, 0.0)
    ours, theirs = (full_precision(level.logits) / temperature for level in (student, teacher))
    if teacher.background:
        taught, learnt = F.log_softmax(theirs, -1), F.log_softmax(ours, -1)
        classes = (taught.exp() * (taught - learnt)).sum(-1)
    else:
        classes = _bernoulli_kl(ours, theirs).sum(-1)
    boxes = (full_precision(student.boxes) - full_precision(teacher.boxes)).abs().mean(-1)
    centerness = torch.zeros_like(weights)
    if student.centerness is not None and teacher.centerness is not None:
        centerness = _bernoulli_kl(full_precision(student.centerness), full_precision(teacher.centerness))
    return DenseDivergence(
        temperature**2 * (weights * classes).sum(), (weights * boxes).sum(), (weights * centerness).sum(), weights.sum()
    )


class DenseKD(DistillationLoss):
    """The first teacher's answers at each place. Terms "dense_classes", "dense_boxes" and "dense_centerness".

    Heads of both must be of one kind (FCOS, RetinaNet or SSD), with the same anchors and classes. Each term is the
    weighted mean of ``dense_divergence`` over the places of all levels, and smaller where the weights add up to less
    than 1 in the batch: a teacher that sees nothing teaches nothing.

    Attributes:
        classes: weight of "dense_classes".
        boxes: weight of "dense_boxes".
        centerness: weight of "dense_centerness".
        temperature: divides the class logits.
        min_score: places to which the teacher gives a lower score teach nothing.
    """

    required_outputs = frozenset({"logits", "feature_maps"})

    classes: Annotated[float, Field(ge=0)] = 1.0
    boxes: Annotated[float, Field(ge=0)] = 1.0
    centerness: Annotated[float, Field(ge=0)] = 1.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    min_score: Annotated[float, Field(ge=0, lt=1)] = 0.05

    @property
    def weights(self) -> Mapping[str, float]:
        """The three weights."""
        return {"dense_classes": self.classes, "dense_boxes": self.boxes, "dense_centerness": self.centerness}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The three terms, scalars.

        Raises:
            UserError: if these are no dense heads of one kind.
        """
        found = [
            torch.stack(dense_divergence(ours, theirs, self.temperature, self.min_score))
            for ours, theirs in match_heads(student, teachers[0])
        ]
        *sums, weight = torch.stack(found).sum(0).unbind()
        return {name: value / weight.clamp(min=1.0) for name, value in zip(self.weights, sums, strict=True)}


def match_heads(student: ModelOutput, teacher: ModelOutput) -> list[tuple[DenseLevel, DenseLevel]]:
    """Levels of two heads with the same places.

    Raises:
        UserError: if there are none, or anchors or classes differ.
    """
    heads = []
    for who, output in (("student", student), ("teacher", teacher)):
        if not isinstance(output, DetectionOutput) or not output.levels:
            raise UserError(
                f"DenseKD compares dense heads (FCOS, RetinaNet, SSD), and the {who} has none. Use losses on levels "
                "(PKD, FGD, MGD, OnLevels)."
            )
        heads.append({tuple(level.logits.shape[1:3]): level for level in output.levels})
    pairs = [(level, heads[1][size]) for size, level in heads[0].items() if size in heads[1]]
    if not pairs:
        raise UserError(
            "no level of the student's head has the size of one of the teacher's: give both the same batch of images, "
            "and networks with common strides."
        )
    for ours, theirs in pairs:
        kinds = [(level.logits.shape[3:], level.background, level.centerness is None) for level in (ours, theirs)]
        if kinds[0] != kinds[1]:
            forms = [level.logits.shape[3:] for level in (ours, theirs)]
            shapes = [f"{counted(anchors, 'anchor')} of {counted(scores, 'score')}" for anchors, scores in forms]
            raise UserError(
                f"DenseKD compares heads of one kind, with the same anchors and classes; the student has {shapes[0]} a "
                f"place, the teacher {shapes[1]}. Use losses on levels for two kinds of heads."
            )
    return pairs


def score_places(level: DenseLevel) -> Tensor:
    """How sure a head is that there is an object: (B, H, W, A) in [0, 1], see ``dense_divergence``."""
    logits = full_precision(level.logits)
    if level.background:
        return 1 - logits.softmax(-1)[..., 0]
    score = logits.sigmoid().amax(-1)
    return score if level.centerness is None else score * full_precision(level.centerness).sigmoid()


def _bernoulli_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of each logit."""
    share = teacher.sigmoid()
    cross = F.binary_cross_entropy_with_logits(student, share, reduction="none")
    return cross - F.binary_cross_entropy_with_logits(teacher, share, reduction="none")
