"""The same mathematics in plain Python and torch: slow, readable, differentiable. Tests hold the kernels to it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def sublevel_pairs(signal: Sequence[float]) -> list[tuple[int, int]]:
    """(birth, death) indices of H0 of the sublevel sets, by a union of neighbours in the order (value, index).

    The global minimum, which never dies, comes with death -1; bars of no length are included.
    """
    elder: dict[int, int] = {}

    def root(i: int) -> int:
        while elder[i] != i:
            i = elder[i]
        return i

    pairs = []
    for i in sorted(range(len(signal)), key=lambda i: (signal[i], i)):
        elder[i] = i
        for j in (i - 1, i + 1):
            if j in elder and root(j) != root(i):
                old, young = sorted((root(i), root(j)), key=lambda r: (signal[r], r))
                elder[young] = old
                if young != i:
                    pairs.append((young, i))
    return [*pairs, (root(0), -1)]


def profiles(points: Tensor, edges: tuple[Tensor, Tensor], bandwidth: float) -> Tensor:
    """Integrals of Gaussians around (...) points over n boxes: (..., n)."""
    low, high = ((edge - points[..., None]) / bandwidth for edge in edges)
    # Where both ends lie above the point, the difference of upper tails keeps its digits.
    above = low > 0
    return _phi(torch.where(above, -low, high)) - _phi(torch.where(above, -high, low))


def image(
    diagrams: Tensor,
    *,
    columns: tuple[Tensor, Tensor],
    rows: tuple[Tensor, Tensor],
    bandwidth: float,
    min_persistence: float,
    linear: bool,
    scaling: str,
    scale: float,
) -> Tensor:
    """Persistence images of diagrams (..., k, 2), in their dtype: (..., rows, columns), the largest persistence first.

    Points of no length change nothing. ``columns`` and ``rows`` are the lower and upper edges of the boxes along births
    and persistences; the other settings are those of ``PersistenceImages``.
    """
    births, lengths = diagrams[..., 0], (diagrams[..., 1] - diagrams[..., 0]).abs()
    weights = torch.where(lengths > min_persistence, lengths if linear else torch.ones_like(lengths), 0)
    heights = profiles(lengths, rows, bandwidth) * weights[..., None]
    return scaled((heights.mT @ profiles(births, columns, bandwidth)).flip(-2), scaling, scale)


def scaled(images: Tensor, scaling: str, scale: float) -> Tensor:
    """Images (..., rows, columns), scaled as ``PersistenceImages`` says."""
    if scaling == "max":
        largest = images.amax((-2, -1), keepdim=True)
        return images / torch.where(largest > 0, largest, math.inf)
    return torch.log1p(images / scale) if scaling == "log" else images


def _phi(x: Tensor) -> Tensor:
    # Not torch.special.ndtr, which is 0 below -8.
    return 0.5 * torch.erfc(-x * math.sqrt(0.5))
