"""Persistence images in plain torch: slow, readable, differentiable. Tests hold the kernels to it."""

import math

import torch
from torch import Tensor


def profiles(points: Tensor, edges: tuple[Tensor, Tensor], bandwidth: float) -> Tensor:
    """Integrals of Gaussians around (...) points over n boxes: (..., n)."""
    low, high = ((edge - points[..., None]) / bandwidth for edge in edges)
    # Where both ends lie above the point, the difference of upper tails keeps its digits.
    above = low > 0
    return _phi(torch.where(above, -low, high)) - _phi(torch.where(above, -high, low))


def persistence_images(
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
    and persistences; the other settings are those of ``PersistenceImageConfig``.
    """
    births, lengths = diagrams[..., 0], (diagrams[..., 1] - diagrams[..., 0]).abs()
    weights = torch.where(lengths > min_persistence, lengths if linear else torch.ones_like(lengths), 0)
    heights = profiles(lengths, rows, bandwidth) * weights[..., None]
    return scaled((heights.mT @ profiles(births, columns, bandwidth)).flip(-2), scaling, scale)


def scaled(images: Tensor, scaling: str, scale: float) -> Tensor:
    """Persistence images (..., rows, columns), scaled as ``PersistenceImageConfig`` says."""
    if scaling == "max":
        largest = images.amax((-2, -1), keepdim=True)
        return images / torch.where(largest > 0, largest, math.inf)
    return torch.log1p(images / scale) if scaling == "log" else images


def _phi(x: Tensor) -> Tensor:
    # Not torch.special.ndtr, which is 0 below -8.
    return 0.5 * torch.erfc(-x * math.sqrt(0.5))
