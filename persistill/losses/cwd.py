"""CWD: channel-wise distillation (Shu, Liu, Gao, Yan and Shen 2021, ICCV, arXiv 2011.13256)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import full_precision, match_maps, to_common_size
from persistill.structures import Batch, ModelOutput, OutputField


def channel_divergence(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """Temperature squared times KL(teacher || student) of each channel's distribution over positions.

    A channel becomes a distribution by a softmax over its positions, so that its size and offset do not count, and the
    places where it is strong count most.

    Args:
        student: (B, C, H, W), feature maps or dense logits.
        teacher: (B, C, H, W).
        temperature: divides both, above 0.

    Returns:
        A scalar, 0 or more: the mean over channels and images.

    Raises:
        UserError: if the shapes differ, there are no positions, or the temperature is not above 0.
    """
    if student.ndim < 3 or student.shape != teacher.shape:
        raise UserError(
            f"channels are compared over their positions, in maps of one shape (B, C, H, W); {tuple(student.shape)} "
            f"and {tuple(teacher.shape)} were given. Logits of whole images have no positions: use CWD on feature maps."
        )
    if not temperature > 0:
        raise UserError(f"the temperature must be above 0; {temperature} was given.")
    with torch.autocast(student.device.type, enabled=False):
        taught, own = (
            F.log_softmax(full_precision(maps).flatten(2) / temperature, dim=2) for maps in (teacher, student)
        )
        return temperature**2 * (taught.exp() * (taught - own)).sum(2).mean()


class CWD(DistillationLoss):
    """Each channel is strong where the first teacher's is. One term, "cwd", or "cwd_logits" on dense logits.

    Attributes:
        weight: of the term; 3 is the authors' for logits, and 50 for feature maps is usual in comparisons by others.
        temperature: divides the channels; 4 is the authors', for logits.
        on: "feature_maps", where a 1x1 convolution that is trained along brings the student to the teacher's channels
            if they differ, or "logits", of tasks where every position has a class.
        maps: the student's stages that are compared, each with the teacher's stage that is as far from the last; None
            for the last. The term is the mean over them.
    """

    weight: Annotated[float, Field(ge=0)] = 50.0
    temperature: Annotated[float, Field(gt=0)] = 4.0
    on: Literal["feature_maps", "logits"] = "feature_maps"
    maps: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @property
    def required_outputs(self) -> frozenset[OutputField]:  # type: ignore[override]
        """What is compared."""
        return frozenset({self.on})

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of "cwd" or "cwd_logits"."""
        return {"cwd" if self.on == "feature_maps" else "cwd_logits": self.weight}

    def build(self, context: MethodContext) -> LossModule:
        """The adapters, a convolution for each stage whose channels differ.

        Raises:
            UserError: if stages cannot be paired.
        """
        return _OnMaps(self, context) if self.on == "feature_maps" else _OnLogits(self)


class _OnLogits(LossModule):
    loss: CWD

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        return {"cwd_logits": channel_divergence(student.logits, teachers[0].logits, self.loss.temperature)}


class _OnMaps(LossModule):
    loss: CWD

    def __init__(self, loss: CWD, context: MethodContext) -> None:
        super().__init__(loss)
        pairs = self._pairs(context.student, context.teachers[0])
        channels = [(one.shape[1], other.shape[1]) for one, other in pairs]
        self.adapters = nn.ModuleList(
            nn.Identity() if own == wanted else nn.Conv2d(own, wanted, 1, bias=False) for own, wanted in channels
        )

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        divergences = []
        for adapter, pair in zip(self.adapters, self._pairs(student, teachers[0]), strict=True):
            own, taught = to_common_size(*pair)
            brought = own if isinstance(adapter, nn.Identity) else apply(adapter, own)
            divergences.append(channel_divergence(brought, taught, self.loss.temperature))
        return {"cwd": torch.stack(divergences).mean()}

    def _pairs(self, student: ModelOutput, teacher: ModelOutput) -> list[tuple[Tensor, Tensor]]:
        pairs = match_maps(student.feature_maps, teacher.feature_maps, self.loss.maps)
        return pairs[-1:] if self.loss.maps is None else pairs
