"""NST: neuron selectivity transfer (Huang and Wang 2017, "Like What You Like", arXiv 1707.01219)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from persistill.losses.base import DistillationLoss
from persistill.losses.functional import full_precision, match_maps, normalize_rows, to_common_size
from persistill.structures import ModelOutput


def neuron_selectivity(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two sets of channels, by the kernel (x . y)^2, a mean over images.

    A channel of one image is a point: its map, scaled to unit norm over positions. The channels of an image are a
    sample, and the two samples need not be of one size. Maps of different height or width are first averaged down to
    the smaller of the two.

    Args:
        student: (B, C, H, W), one stage's map.
        teacher: (B, C', H', W'), of the same batch.

    Returns:
        A scalar, 0 or more up to rounding.
    """
    one, other = (_selectivity(features) for features in to_common_size(student, teacher))
    return _mean_kernel(one, one) + _mean_kernel(other, other) - 2 * _mean_kernel(one, other)


def _selectivity(features: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, H W), of unit norm over positions; dead channels are zero."""
    batch, channels = features.shape[:2]
    return normalize_rows(full_precision(features).flatten(2).flatten(0, 1)).reshape(batch, channels, -1)


def _mean_kernel(one: Tensor, other: Tensor) -> Tensor:
    with torch.autocast(one.device.type, enabled=False):
        return (one @ other.transpose(1, 2)).square().mean()


class NST(DistillationLoss):
    """Channels are selective for the same places as the first teacher's. One term, "nst", the sum over stages.

    Attributes:
        weight: of the term; 50 is usual (RepDistiller).
    """

    required_outputs = frozenset({"feature_maps"})

    weight: Annotated[float, Field(ge=0)] = 50.0

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "nst": sum over stages of ``neuron_selectivity``, a scalar.

        Raises:
            UserError: if stages cannot be paired.
        """
        pairs = match_maps(student.feature_maps, teachers[0].feature_maps)
        return {"nst": torch.stack([neuron_selectivity(*pair) for pair in pairs]).sum()}
