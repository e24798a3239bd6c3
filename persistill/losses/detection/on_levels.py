"""Losses on feature maps of any network, level by level of two detectors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.detection.levels import LevelPair, foreground, image_size, match_levels
from persistill.losses.functional import full_precision
from persistill.structures import Batch, ModelOutput

_NAME = "level"


class OnLevels(DistillationLoss):
    """A loss on feature maps, on each level of the first teacher that has the size of one of the student's.

    ``OnLevels(loss=CWD(weight=10.0, temperature=1.0))``, and likewise FitNet, AT, ICKD, NST, SP, SEKD and others that
    read feature maps alone. Each level is given to the loss as the only stage of a network; trainable parts are made
    for each. The terms are those of the loss, means over the levels.

    Attributes:
        loss: reads feature maps and nothing else.
        first: of the paired levels, from fine to coarse, how many are used; None for all.
        region: "all"; "objects" or "background": maps are set to zero elsewhere, by the boxes.
    """

    required_outputs = frozenset({"feature_maps"})

    loss: DistillationLoss
    first: Annotated[int, Field(ge=1)] | None = None
    region: Literal["all", "objects", "background"] = "all"

    @property
    def vanishes_at_equality(self) -> bool:  # type: ignore[override]
        """As of the loss."""
        return self.loss.vanishes_at_equality

    @property
    def weights(self) -> Mapping[str, float]:
        """Those of the loss."""
        return self.loss.weights

    def schedule(self, step: int, epoch: int) -> float | Mapping[str, float]:
        """That of the loss."""
        return self.loss.schedule(step, epoch)

    def build(self, context: MethodContext) -> LossModule:
        """The loss, once for each level.

        Raises:
            UserError: if levels cannot be paired, or the loss reads more than feature maps or needs a preparation.
        """
        return _Levels(self, context)

    def pairs(self, student: ModelOutput, teacher: ModelOutput) -> list[LevelPair]:
        """The levels that are compared."""
        return match_levels(student.feature_maps, teacher.feature_maps)[: self.first]


class _Levels(LossModule):
    loss: OnLevels

    def __init__(self, loss: OnLevels, context: MethodContext) -> None:
        super().__init__(loss)
        inner = loss.loss
        if inner.required_outputs != {"feature_maps"} or inner.preparation is not None or inner.num_teachers != 1:
            raise UserError(
                f"OnLevels takes losses of one teacher that read feature maps and nothing else; {type(inner).__name__} "
                f"reads {', '.join(sorted(inner.required_outputs))}. Detectors have such outputs for other things than "
                "images: use DenseKD for the classes of dense heads."
            )
        student, teacher = context.student, context.teachers[0]
        self.levels = nn.ModuleList(
            inner.build(replace(context, student=_only(pair.student, student), teachers=[_only(pair.teacher, teacher)]))
            for pair in loss.pairs(student, teacher)
        )

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs, found = self.loss.pairs(student, teachers[0]), []
        if len(pairs) != len(self.levels):
            raise UserError(
                f"OnLevels was built for {len(self.levels)} common levels, and these outputs have {len(pairs)}: "
                "images of one size lead to the same levels. Build the loss with outputs for images of that size."
            )
        for level, pair in zip(self.levels, pairs, strict=True):
            shown = pair if self.loss.region == "all" else self._masked(pair, student, batch.target)
            ours, theirs = _only(shown.student, student), _only(shown.teacher, teachers[0])
            found.append(level(ours, [theirs], batch).terms)
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in self.loss.weights}

    def _masked(self, pair: LevelPair, student: ModelOutput, target: Tensor) -> LevelPair:
        places = (pair.student.shape[2], pair.student.shape[3])
        inside = foreground(target, places, image_size(student, "OnLevels")) > 0
        kept = (inside if self.loss.region == "objects" else ~inside)[:, None]
        return LevelPair(*(full_precision(maps).where(kept, 0.0) for maps in pair))


def _only(maps: Tensor, output: ModelOutput) -> ModelOutput:
    return ModelOutput(output.logits, output.embedding, {_NAME: maps})
