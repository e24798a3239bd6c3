"""RKD: relational knowledge distillation (Park, Kim, Lu and Cho 2019, CVPR, arXiv 1904.05068)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.losses.base import DistillationLoss
from persistill.losses.functional import check_batches, full_precision, normalize_rows, rounding
from persistill.structures import ModelOutput


def distance_relation(student: Tensor, teacher: Tensor) -> Tensor:
    """Difference of two tables of distances between images, each table in units of its own mean distance.

    Args:
        student: (B, ...), flattened behind the batch axis.
        teacher: (B, ...), of the same batch; all other sizes may differ.

    Returns:
        A scalar, 0 or more: the mean over all B^2 pairs of the smooth L1 difference.

    Raises:
        UserError: if the batches differ.
    """
    check_batches(student, teacher, "embeddings")
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def angle_relation(student: Tensor, teacher: Tensor) -> Tensor:
    """Difference of the cosines of the angles that all triples of images form.

    Memory grows with B^2 D for embeddings of D numbers, and with B^3.

    Args:
        student: (B, ...), flattened behind the batch axis.
        teacher: (B, ...), of the same batch; all other sizes may differ.

    Returns:
        A scalar, 0 or more: the mean over all B^3 triples of the smooth L1 difference.

    Raises:
        UserError: if the batches differ.
    """
    check_batches(student, teacher, "embeddings")
    return F.smooth_l1_loss(_angles(student), _angles(teacher))


def _relative_distances(features: Tensor) -> Tensor:
    """(B, B): distances over their mean, in which pairs at no distance do not count."""
    flat = full_precision(features).flatten(1)
    with torch.autocast(features.device.type, enabled=False):
        # By differences: inner products would leave rounding where images coincide.
        distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    apart = distances > rounding(flat).max()
    mean = torch.where(apart, distances, 0.0).sum() / apart.sum().clamp(min=1)
    return torch.where(apart, distances, 0.0) / torch.where(apart.any(), mean, 1.0)


def _angles(features: Tensor) -> Tensor:
    """(B, B, B): at [i, j, k] the cosine of the angle at image i between j and k, 0 where two of them coincide."""
    flat = full_precision(features).flatten(1)
    batch = len(flat)
    differences = (flat[None] - flat[:, None]).flatten(0, 1)
    directions = normalize_rows(differences, rounding(flat).max()).reshape(batch, batch, -1)
    with torch.autocast(features.device.type, enabled=False):
        return directions @ directions.transpose(1, 2)


class RKD(DistillationLoss):
    """Embeddings lie to each other as the first teacher's do. Terms "rkd_distance" and "rkd_angle".

    Attributes:
        distance: weight of "rkd_distance"; 25 is usual (RepDistiller).
        angle: weight of "rkd_angle"; 50 is usual.
    """

    required_outputs = frozenset({"embedding"})

    distance: Annotated[float, Field(ge=0)] = 25.0
    angle: Annotated[float, Field(ge=0)] = 50.0

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "rkd_distance" and "rkd_angle"."""
        return {"rkd_distance": self.distance, "rkd_angle": self.angle}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The terms "rkd_distance" and "rkd_angle" of the embeddings, each a scalar.

        Raises:
            UserError: if the batches differ.
        """
        pair = student.embedding, teachers[0].embedding
        return {"rkd_distance": distance_relation(*pair), "rkd_angle": angle_relation(*pair)}
