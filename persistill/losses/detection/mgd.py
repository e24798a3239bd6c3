"""MGD: masked generative distillation (Yang et al. 2022, ECCV, arXiv 2205.01529)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.detection.level_adapters import adapt_level, make_adapters
from persistill.losses.detection.levels import LevelPair, match_levels
from persistill.losses.functional import full_precision
from persistill.structures import Batch, ModelOutput


class MGD(DistillationLoss):
    """The first teacher's levels, generated from a part of the student's. One term, "mgd": the sum over levels.

    Of each level of the student, brought to the teacher's channels where they differ, places drawn at random are set to
    zero, and two 3x3 convolutions with a ReLU between them, which are trained along, make the whole level of the
    teacher from the rest. The squared difference is summed and divided by the images.

    Attributes:
        weight: of the term; 2e-5 is the authors' for detectors of one stage, 5e-7 for those of two.
        masked: share of the places that is set to zero; 0.65 is theirs for one stage, 0.45 for two.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 2e-5
    masked: Annotated[float, Field(ge=0, lt=1)] = 0.65

    def build(self, context: MethodContext) -> LossModule:
        """Adapters and generators, for each pair of levels.

        Raises:
            UserError: if levels cannot be paired.
        """
        return _MGD(self, match_levels(context.student.feature_maps, context.teachers[0].feature_maps))


class _MGD(LossModule):
    loss: MGD

    def __init__(self, loss: MGD, pairs: Sequence[LevelPair]) -> None:
        super().__init__(loss)
        self.adapters = make_adapters(pairs)
        widths = [pair.teacher.shape[1] for pair in pairs]
        self.generators = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
            for width in widths
        )

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs = match_levels(student.feature_maps, teachers[0].feature_maps)
        # Masks depend on the step alone, so that a training that is resumed draws the same.
        generator = torch.Generator().manual_seed(batch.step)
        total = []
        for pair, adapter, generate in zip(pairs, self.adapters, self.generators, strict=True):
            maps = adapt_level(adapter, pair.student)
            drawn = torch.rand(len(maps), 1, *maps.shape[2:], generator=generator).to(maps.device)
            made = apply(generate, maps * (drawn >= self.loss.masked))
            total.append((made - full_precision(pair.teacher)).square().sum() / len(maps))
        return {"mgd": torch.stack(total).sum()}
