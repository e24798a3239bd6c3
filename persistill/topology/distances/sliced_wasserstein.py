"""The sliced Wasserstein distance between persistence diagrams."""

import math

import numpy as np
import torch
from torch import Tensor

from persistill.topology._checks import checked_count
from persistill.topology._eager import eager
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.vectorization._batching import (
    as_tensor,
    checked_points,
    paired_padded_batches,
    require_pairs,
    with_batch_shape,
)


@eager
def sliced_wasserstein(first: Diagrams[Array], second: Diagrams[Array], *, directions: int = 50) -> Array:
    """Sliced Wasserstein distance between the i-th diagrams of two batches.

    ``SW(D, E) = 1 / (2 pi) int W_1(<D + diag(E), u>, <E + diag(D), u>) du`` over the unit circle: each diagram is
    joined with the orthogonal projections of the other's points to the diagonal, both are projected to the
    direction u, and W_1 sums the distances between the sorted projections (Carriere, Cuturi, Oudot, Sliced
    Wasserstein kernel for persistence diagrams, ICML 2017, definition 3.1). The integral is the mean over
    ``directions`` angles ``-pi / 2 + k pi / directions`` on the half circle; the other half repeats them.

    Args:
        first: of shape (...), finite; 8-bit values stand for value / 255.
        second: of the same shape and kind, finite.
        directions: number of angles.

    Returns:
        (...,) distances, differentiable in both (where projections tie, along one of the possible pairings).

    Raises:
        TypeError: if an argument has a wrong type, or one holds arrays and the other tensors.
        ValueError: if a point is not finite (its number is named), the shapes differ, or ``directions`` < 1.
    """
    directions = checked_count("directions", directions)
    require_pairs(first, second)
    ours, theirs = checked_points(first, "first"), checked_points(second, "second")
    dtype = torch.promote_types(ours.dtype, theirs.dtype)
    angles = torch.arange(directions, dtype=torch.float64) * (math.pi / directions) - math.pi / 2
    cos, sin = (part.to(ours.device, dtype)[:, None] for part in (angles.cos(), angles.sin()))

    def projected(block: Tensor, other: Tensor) -> Tensor:
        middles = other.mean(2, keepdim=True).expand_as(other)
        x, y = torch.cat([block, middles], 1).mT.contiguous()[:, :, None].unbind(1)
        return _sorted(torch.addcmul(x * cos, y, sin))

    parts = []
    bounds = as_tensor(first.offsets), as_tensor(second.offsets)
    # Points filled up with zeros project to zero on both sides, which leaves W_1 as it is.
    for block, other in paired_padded_batches([ours.to(dtype), theirs.to(dtype)], bounds, directions):
        gaps = projected(block, other) - projected(other, block)
        parts.append(gaps.abs().sum(2).mean(1))
    distances: Array = with_batch_shape(torch.cat(parts), first)
    return distances


def _sorted(rows: Tensor) -> Tensor:
    if rows.device.type != "cpu":
        return rows.sort(-1).values
    # NumPy sorts with vector instructions, twenty times faster than torch; only the order is needed for gradients.
    if rows.requires_grad:
        return rows.gather(-1, torch.from_numpy(np.argsort(rows.detach().numpy(), axis=-1)))
    rows.numpy().sort(axis=-1)
    return rows
