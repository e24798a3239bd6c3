"""AMD: angular margin-based distillation (Jeon, Choi, Shukla and Turaga 2023, Neurocomputing 518, arXiv 2302.14130).

After the authors' published loss code; the text of the paper was not at hand.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.at import attention
from persistill.losses.base import AutoconfigContext, DistillationLoss, Suggestion, two_digits
from persistill.losses.functional import match_maps, normalize_rows, to_common_size
from persistill.structures import ModelOutput


def angular_margin(
    student: Tensor, teacher: Tensor, margin: float = 1.35, scale: float = 64.0, local: float = 0.0
) -> Tensor:
    """Mean squared difference of two attention maps on the sphere, where a margin separates strong from weak.

    With q the attention map of unit norm, three maps are compared: P = scale cos(margin arccos q), N = scale (1 - q),
    and G = log(e^P / (e^P + e^N)), each scaled to unit norm over positions. Features of different height or width are
    first averaged down to the smaller of the two.

    Args:
        student: (B, C, H, W), one stage's map.
        teacher: (B, C', H', W'), of the same batch.
        margin: multiplies the angle, above 0; at most 2, so that the cosine falls all the way.
        scale: of the exponents; P and N lose it again when they are normalized, so it matters in G alone.
        local: share, 0 to 1, of the mean over the four quadrants of the same map (it is not normalized again before
            P and N are computed); the whole map has the rest.

    Returns:
        A scalar, 0 or more.

    Raises:
        UserError: if ``local`` is above 0 and the common map has fewer than 2 rows or columns.
    """
    one, other = to_common_size(student, teacher)
    height, width = one.shape[2:]
    look, shown = (attention(features).reshape(-1, height, width) for features in (one, other))
    whole = _difference(look, shown, margin, scale)
    if local == 0:
        return whole
    if min(height, width) < 2:
        raise UserError(
            f"the local part of AMD cuts maps into quadrants, and one stage has {height} x {width} positions for "
            "teacher and student in common. Set local=0.0, or use larger images."
        )
    rows, columns = ((slice(side // 2), slice(side // 2, None)) for side in (height, width))
    quadrants = torch.stack(
        [_difference(look[:, row, column], shown[:, row, column], margin, scale) for row in rows for column in columns]
    )
    return (1 - local) * whole + local * quadrants.mean()


def _difference(student: Tensor, teacher: Tensor, margin: float, scale: float) -> Tensor:
    pairs = zip(_on_the_sphere(student, margin, scale), _on_the_sphere(teacher, margin, scale), strict=True)
    return torch.stack([F.mse_loss(one, other) for one, other in pairs]).mean()


def _on_the_sphere(attended: Tensor, margin: float, scale: float) -> list[Tensor]:
    """G, P and N of an attention map or a part of it, (B, h, w) to (B, h w) each."""
    q = attended.flatten(1)
    # The arc cosine has no derivative at 1.
    positive = scale * torch.cos(margin * torch.acos(q.clamp(max=1 - 1e-7)))
    negative = scale * (1 - q)
    # The exponentials themselves reach e^64. Their ratio needs only the difference of the exponents.
    both = F.logsigmoid(positive - negative)
    return [normalize_rows(map_) for map_ in (both, positive, negative)]


class AMD(DistillationLoss):
    """The student looks where its first teacher looks, in angles with a margin. One term, "amd", the mean over stages.

    Attributes:
        weight: of the term. The paper's value is not published with the code; 5000 is ours.
        margin: multiplies the angle of strong positions.
        scale: of the exponents.
        local: share of the four quadrants beside the whole map; 0.2 in the authors' "global + local" code.
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 5000.0
    margin: Annotated[float, Field(gt=0, le=2)] = 1.35
    scale: Annotated[float, Field(gt=0)] = 64.0
    local: Annotated[float, Field(ge=0, le=1)] = 0.0

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The usual weight, lowered for images below 32 x 32: the term grows as maps get smaller."""
        return Suggestion(cls(weight=two_digits(5000.0 * context.relative_area**2)))

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "amd": mean over stages of ``angular_margin``, a scalar.

        Raises:
            UserError: if stages cannot be paired, or a map is too small for quadrants.
        """
        pairs = match_maps(student.feature_maps, teachers[0].feature_maps)
        differences = [angular_margin(*pair, self.margin, self.scale, self.local) for pair in pairs]
        return {"amd": torch.stack(differences).mean()}
