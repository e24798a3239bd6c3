"""Minimum spanning trees of a batch of clouds by torch operations.

The plain reference for the kernels, and the path for tensors on devices that have none: there is no data-dependent
shape, branch or read-out, so the host only queues work and never waits for the device.
"""

import math

import torch
from torch import Tensor


def mst_lengths(points: Tensor, *, distances: bool) -> Tensor:
    """Lengths (..., n - 1) of the minimum spanning trees of (..., n, d) points or (..., n, n) distances, sorted."""
    n, d = points.shape[-2:]
    size = math.prod(points.shape[:-2])
    clouds = points.reshape(size, n, d)
    clouds = clouds if clouds.dtype == torch.float64 else clouds.float()
    if n < 2 or size == 0:
        # Nothing to choose from; a sum over nothing that is still attached to the graph.
        return clouds.sum((1, 2))[:, None].expand(-1, max(0, n - 1)).reshape(*points.shape[:-2], max(0, n - 1))
    first = torch.arange(size, device=points.device)[:, None]
    if distances:
        older, newer = tree(clouds.detach())
        lengths = clouds[first, torch.minimum(older, newer), torch.maximum(older, newer)]
    else:
        # To 2^40 or 2^320, exactly: squares stay finite, and those of all lengths that matter stay normal.
        reach = clouds.detach().abs().amax((1, 2)) if d else clouds.new_zeros(size)
        exponent = (320 if clouds.dtype == torch.float64 else 40) - torch.frexp(reach).exponent
        scaled = _times_power(clouds, exponent[:, None, None])
        # Without the matrix product, which cancels far from the origin and may run in TF32.
        older, newer = tree(torch.cdist(scaled.detach(), scaled.detach(), compute_mode="donot_use_mm_for_euclid_dist"))
        # The gradient of this norm is 0 at 0.
        lengths = torch.linalg.vector_norm(scaled[first, older] - scaled[first, newer], dim=-1)
        lengths = _times_power(lengths, -exponent[:, None])
    return lengths.sort(dim=-1).values.reshape(*points.shape[:-2], n - 1)


def tree(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Prim's algorithm on (B, n, n) distances: (B, n - 1) end points of the edges, the one in the tree first."""
    size, n, _ = distances.shape
    near = distances[:, 0].clone()  # of each point outside, the distance to the tree, and where in the tree
    parent = torch.zeros(size, n, dtype=torch.int64, device=distances.device)
    outside = torch.ones(size, n, dtype=torch.bool, device=distances.device)
    outside[:, 0] = False
    older, newer = [], []
    for _ in range(n - 1):
        newest = near.where(outside, torch.inf).argmin(1, keepdim=True)
        older.append(parent.gather(1, newest))
        newer.append(newest)
        outside.scatter_(1, newest, value=False)
        row = distances.gather(1, newest[:, :, None].expand(-1, -1, n))[:, 0]
        nearer = row < near
        near = row.where(nearer, near)
        parent = newest.where(nearer, parent)
    return torch.cat(older, 1), torch.cat(newer, 1)


def edge_gradients(clouds: Tensor, first: Tensor, second: Tensor, upstream: Tensor) -> Tensor:
    """What gradients of edge lengths give to the end points: (B, n, d), itself differentiable.

    Args:
        clouds: (B, n, d).
        first: (B, m) int64, one end point of each edge.
        second: (B, m), the other.
        upstream: (B, m), the gradient with respect to the lengths.

    Returns:
        Sums of ``upstream`` times the unit vector between the end points, which is 0 where they coincide.
    """
    wide = (-1, -1, clouds.shape[2])
    starts, ends = (index[..., None].expand(wide) for index in (first, second))
    steps = clouds.gather(1, starts) - clouds.gather(1, ends)
    # Over the largest coordinate, so that squares neither vanish nor overflow.
    reach = steps.detach().abs().amax(2, keepdim=True) if clouds.shape[2] else steps.new_zeros(*steps.shape[:2], 1)
    steps = steps / torch.where(reach > 0, reach, 1)
    squares = steps.square().sum(2, keepdim=True)
    pulls = upstream[..., None] * steps / torch.where(squares > 0, squares, 1).sqrt()
    return torch.zeros_like(clouds).scatter_add(1, starts, pulls).scatter_add(1, ends, -pulls)


def _times_power(values: Tensor, exponent: Tensor) -> Tensor:
    # In two steps, because a power may itself overflow; not by ldexp, which forms it in float32.
    half = exponent // 2
    return values * torch.exp2(half.to(values.dtype)) * torch.exp2((exponent - half).to(values.dtype))
