"""FGD: focal and global distillation (Yang et al. 2022, CVPR, "Focal and Global Knowledge Distillation for Detectors",
arXiv 2111.11837).
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.detection.level_adapters import adapt_level, make_adapters
from persistill.losses.detection.levels import LevelPair, foreground, image_size, match_levels
from persistill.losses.functional import full_precision
from persistill.losses.sekd.sekd import attention_masks
from persistill.structures import Batch, ModelOutput


class FocalDifference(NamedTuple):
    """The focal terms of one level, scalars.

    Attributes:
        objects: where objects are.
        background: elsewhere.
        attention: of the masks themselves.
    """

    objects: Tensor
    background: Tensor
    attention: Tensor


def focal_difference(student: Tensor, teacher: Tensor, weights: Tensor, temperature: float = 0.5) -> FocalDifference:
    """Squared differences of a level, weighted by the teacher's attention, apart for objects and for what is between.

        objects = sum M A_p A_c (F_T - F_S)^2 / B, background likewise with (1 - [M > 0]) / (places without objects)

    with the masks A_p, A_c of ``attention_masks`` of the teacher and M of ``foreground``; and the sum of absolute
    differences of the student's masks from the teacher's, divided by B.

    Args:
        student: (B, C, H, W).
        teacher: (B, C, H, W), without gradient.
        weights: (B, H, W) of ``foreground``.
        temperature: of the masks.
    """
    batch = len(student)
    with torch.autocast(student.device.type, enabled=False):
        ours, theirs = full_precision(student), full_precision(teacher)
        taught, learnt = attention_masks(theirs, temperature), attention_masks(ours, temperature)
        squares = (ours - theirs).square() * taught.places[:, None] * taught.channels[:, :, None, None]
        by_place = squares.sum(1)
        free = (weights == 0).to(by_place.dtype)
        free = free / free.sum((1, 2), keepdim=True).clamp(min=1)
        attention = (learnt.places - taught.places).abs().sum() + (learnt.channels - taught.channels).abs().sum()
        return FocalDifference((by_place * weights).sum() / batch, (by_place * free).sum() / batch, attention / batch)


class FGD(DistillationLoss):
    """Where the first teacher looks, and how places relate. Terms "fgd_objects", "fgd_background", "fgd_attention" and
    "fgd_relation", sums over levels.

    A 1x1 convolution that is trained along brings the student to the teacher's channels where they differ, and two
    blocks of a GCNet, one of the student and one of the teacher, relate the places of a level; the relation is the
    squared difference of what they give, summed and divided by the images.

    Weights are sums over places, so those for one size of image do not suit another. Defaults are the authors' for
    RetinaNet; they take 1.6e-3, 8e-4, 8e-4, 8e-6 and a temperature of 0.8 for FCOS, and 5e-5, 2.5e-5, 5e-5, 5e-7 for
    detectors of two stages. A part of their figures comes from a student that begins with the teacher's pyramid and
    head: ``models.inherit_head``.

    Attributes:
        objects: weight of "fgd_objects".
        background: weight of "fgd_background".
        attention: weight of "fgd_attention".
        relation: weight of "fgd_relation".
        temperature: of the attention.
    """

    required_outputs = frozenset({"feature_maps"})

    objects: Annotated[float, Field(ge=0)] = 1e-3
    background: Annotated[float, Field(ge=0)] = 5e-4
    attention: Annotated[float, Field(ge=0)] = 5e-4
    relation: Annotated[float, Field(ge=0)] = 5e-6
    temperature: Annotated[float, Field(gt=0)] = 0.5

    @property
    def weights(self) -> Mapping[str, float]:
        """The four weights."""
        return {
            "fgd_objects": self.objects,
            "fgd_background": self.background,
            "fgd_attention": self.attention,
            "fgd_relation": self.relation,
        }

    def build(self, context: MethodContext) -> LossModule:
        """Adapters and blocks, for each pair of levels.

        Raises:
            UserError: if levels cannot be paired.
        """
        return _FGD(self, match_levels(context.student.feature_maps, context.teachers[0].feature_maps))


class ContextBlock(nn.Module):
    """A block of GCNet (Cao et al. 2019): adds to each place what a softmax over all places picks.

    It begins as the identity: its last layer is zero.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.pick = nn.Conv2d(channels, 1, 1)
        self.change = nn.Sequential(
            nn.Conv2d(channels, inner, 1), nn.LayerNorm([inner, 1, 1]), nn.ReLU(), nn.Conv2d(inner, channels, 1)
        )
        last = self.change[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        share = self.pick(maps).flatten(2).softmax(2)  # (B, 1, H W)
        context = (maps.flatten(2) * share).sum(2)[:, :, None, None]
        changed: Tensor = maps + self.change(context)
        return changed


class _FGD(LossModule):
    loss: FGD

    def __init__(self, loss: FGD, pairs: Sequence[LevelPair]) -> None:
        super().__init__(loss)
        self.adapters = make_adapters(pairs)
        self.ours = nn.ModuleList(ContextBlock(pair.teacher.shape[1]) for pair in pairs)
        self.theirs = nn.ModuleList(ContextBlock(pair.teacher.shape[1]) for pair in pairs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        pairs, image = match_levels(student.feature_maps, teachers[0].feature_maps), image_size(student, "FGD")
        levels = []
        for pair, adapter, ours, theirs in zip(pairs, self.adapters, self.ours, self.theirs, strict=True):
            maps = adapt_level(adapter, pair.student)
            weights = foreground(batch.target, (maps.shape[2], maps.shape[3]), image)
            focal = focal_difference(maps, pair.teacher, weights, self.loss.temperature)
            relation = (apply(ours, maps) - apply(theirs, pair.teacher)).square().sum() / len(maps)
            levels.append(torch.stack([*focal, relation]))
        return dict(zip(self.loss.weights, torch.stack(levels).sum(0).unbind(), strict=True))
