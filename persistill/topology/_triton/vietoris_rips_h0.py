"""Triton kernels for minimum spanning trees of point clouds on a GPU, and for their gradient.

1. *Distances*, a tile of 32 x 32 pairs a program: sums of squared differences in float64, which neither cancel far from
   the origin nor overflow for float32; float64 differences are divided by the largest of them first. No matrix unit,
   and none of torch's settings of precision.
2. *Tree*: Prim's algorithm, one program for each cloud. The distances of all points to the tree stay in registers; a
   step is a search for the least of them and a load of one row of the matrix. Each new edge counts how many of the
   edges before it are no longer, and is counted by those that are: in the end all know their place in the order.
3. *Gradient*, one program for each point: it walks over the edges of its cloud and adds up those that it belongs to, in
   a fixed order, where scattering would need atomic additions.

The host launches these three and waits for nothing. NaN and infinities give lengths of NaN.

*How far from the floor* (estimated, H100; 64 clouds of 64 points in 64 dimensions): distances 5 us; the 63 steps of the
tree depend on each other, and each waits for a load from the second cache and a reduction, 0.3 to 0.5 us: 30 us for any
number of clouds up to several hundred; gradient 10 us. The rest of the time is the host's, 20 us for each launch.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from persistill.topology._dispatch import device_of
from persistill.topology._reference import vietoris_rips_h0 as reference

LARGEST = 1 << 14  # points whose distances to the tree fit into the registers of one program
_TILE = 32
_OPTIONS = {"enable_fp_fusion": True}  # Triton's long-standing default, which it warns that it will change


def mst_lengths(points: Tensor, *, distances: bool) -> Tensor:
    """Sorted lengths (..., n - 1) of the trees of (..., n, d) points or (..., n, n) distances.

    Points must not be empty, and 2 <= n <= LARGEST.
    """
    n, d = points.shape[-2:]
    clouds = points.reshape(-1, n, d)
    clouds = clouds if clouds.dtype == torch.float64 else clouds.float()
    if distances:
        edges, _ = trees(clouds.detach().contiguous(), mirrored=False)
        lengths = clouds.reshape(-1, n * n).gather(1, edges[:, :, 0] * n + edges[:, :, 1])
    else:
        lengths = _Lengths.apply(clouds)
    return lengths.reshape(*points.shape[:-2], n - 1)


def trees(distances: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Edges of the minimum spanning trees, by length.

    Args:
        distances: (B, n, n) float32 or float64, contiguous, 2 <= n <= LARGEST.
        mirrored: whether the lower triangle may be read in place of the upper one.

    Returns:
        End points (B, n - 1, 2) int64, the smaller number first, and lengths (B, n - 1).
    """
    size, n, _ = distances.shape
    edges = torch.empty((size, n - 1, 2), dtype=torch.int64, device=distances.device)
    lengths = torch.empty((size, n - 1), dtype=distances.dtype, device=distances.device)
    side = triton.next_power_of_2(n)
    warps = min(16, max(1, side // 128))
    with device_of(distances):
        _prim[(size,)](
            distances, edges, lengths, n, MIRRORED=mirrored, SIDE=side, num_warps=warps, num_stages=1, **_OPTIONS
        )
    return edges, lengths


class _Lengths(torch.autograd.Function):
    """Lengths (B, n - 1) of the edges of the trees of clouds (B, n, d)."""

    @staticmethod
    def forward(ctx: Any, clouds: Tensor) -> Tensor:
        clouds = clouds.contiguous()
        size, n, d = clouds.shape
        tiles = triton.cdiv(n, _TILE)
        matrices = torch.empty((size, n, n), dtype=clouds.dtype, device=clouds.device)
        with device_of(clouds):
            _measure[size, tiles, tiles](clouds, matrices, n, d, TILE=_TILE, num_stages=1, **_OPTIONS)
        edges, lengths = trees(matrices, mirrored=True)
        ctx.save_for_backward(clouds, edges, lengths)
        return lengths

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        clouds, edges, lengths = ctx.saved_tensors
        if torch.is_grad_enabled():  # with create_graph=True
            return reference.edge_gradients(clouds, edges[:, :, 0], edges[:, :, 1], upstream)
        size, n, d = clouds.shape
        gradient = torch.empty_like(clouds)
        width = min(1024, triton.next_power_of_2(max(1, d)))
        with device_of(clouds):
            _pull[size * n, triton.cdiv(d, width)](
                clouds, edges, lengths, upstream.contiguous(), gradient, n, d, WIDTH=width, num_warps=1, **_OPTIONS
            )
        return gradient


@triton.jit
def _measure(clouds: tl.tensor, matrices: tl.tensor, n: tl.tensor, d: tl.tensor, TILE: tl.constexpr) -> None:
    """Distances between TILE points of a cloud and TILE others."""
    cloud = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * TILE + tl.arange(0, TILE)
    j = tl.program_id(2) * TILE + tl.arange(0, TILE)
    first = clouds + cloud * n * d + tl.minimum(i, n - 1).to(tl.int64) * d
    second = clouds + cloud * n * d + tl.minimum(j, n - 1).to(tl.int64) * d
    unit = tl.zeros((TILE, TILE), tl.float64) + 1
    if clouds.dtype.element_ty == tl.float64:
        most = tl.zeros((TILE, TILE), tl.float64)
        for k in range(d):
            most = tl.maximum(most, tl.abs(tl.load(first + k)[:, None] - tl.load(second + k)[None, :]))
        unit = tl.where(most > 0, most, unit)
    squares = tl.zeros((TILE, TILE), tl.float64)
    for k in range(d):
        difference = tl.load(first + k).to(tl.float64)[:, None] - tl.load(second + k).to(tl.float64)[None, :]
        if clouds.dtype.element_ty == tl.float64:
            difference /= unit
        squares += difference * difference
    place = matrices + cloud * n * n + i.to(tl.int64)[:, None] * n + j[None, :]
    lengths = unit * tl.sqrt(squares)
    tl.store(place, lengths.to(matrices.dtype.element_ty), mask=(i < n)[:, None] & (j < n)[None, :])


@triton.jit
def _prim(
    distances: tl.tensor,
    edges: tl.tensor,
    lengths: tl.tensor,
    n: tl.tensor,
    MIRRORED: tl.constexpr,
    SIDE: tl.constexpr,
) -> None:
    """Grow the tree of one cloud from its first point."""
    cloud = tl.program_id(0).to(tl.int64)
    distances += cloud * n * n
    edges += cloud * (n - 1) * 2
    lengths += cloud * (n - 1)
    far: tl.constexpr = 3.0e38 if distances.dtype.element_ty == tl.float32 else 1.7e308
    point = tl.arange(0, SIDE)
    outside = (point > 0) & (point < n)
    row = tl.load(distances + point, mask=outside, other=0)
    # NaN and infinities become just finite, so that every point is chosen once and no index is out of range.
    near = tl.where(outside, tl.where(row < far, row, far), float("inf"))
    parent = tl.zeros((SIDE,), tl.int32)
    length = tl.zeros((SIDE,), distances.dtype.element_ty)
    place = tl.zeros((SIDE,), tl.int32)
    for _ in range(n - 1):
        least, newest = tl.min(near, 0, return_indices=True)
        chosen = point == newest
        before = (point > 0) & (point < n) & (outside == 0)
        outside = outside & (chosen == 0)
        place += (before & (length > least)).to(tl.int32)
        place = tl.where(chosen, tl.sum((before & (length <= least)).to(tl.int32), 0), place)
        length = tl.where(chosen, least, length)
        if MIRRORED:
            entry = newest.to(tl.int64) * n + point
        else:
            entry = tl.minimum(point, newest).to(tl.int64) * n + tl.maximum(point, newest)
        row = tl.load(distances + entry, mask=outside, other=0)
        nearer = outside & (row < near)
        parent = tl.where(nearer, newest, parent)
        near = tl.where(nearer, row, tl.where(outside, near, float("inf")))
    real = (point > 0) & (point < n)
    tl.store(edges + 2 * place, tl.minimum(parent, point).to(tl.int64), mask=real)
    tl.store(edges + 2 * place + 1, tl.maximum(parent, point).to(tl.int64), mask=real)
    tl.store(lengths + place, tl.where(length < far, length, float("nan")), mask=real)


@triton.jit
def _pull(
    clouds: tl.tensor,
    edges: tl.tensor,
    lengths: tl.tensor,
    upstream: tl.tensor,
    gradient: tl.tensor,
    n: tl.tensor,
    d: tl.tensor,
    WIDTH: tl.constexpr,
) -> None:
    """Add up what the edges of one point pull at WIDTH of its coordinates."""
    cloud = tl.program_id(0).to(tl.int64) // n
    point = tl.program_id(0) % n
    coordinate = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    real = coordinate < d
    clouds += cloud * n * d
    edges += cloud * (n - 1) * 2
    here = tl.load(clouds + point.to(tl.int64) * d + coordinate, mask=real, other=0)
    total = tl.zeros((WIDTH,), clouds.dtype.element_ty)
    for edge in range(n - 1):
        low = tl.load(edges + 2 * edge)
        high = tl.load(edges + 2 * edge + 1)
        if (low == point) | (high == point):
            length = tl.load(lengths + cloud * (n - 1) + edge)
            there = tl.load(clouds + (low + high - point) * d + coordinate, mask=real, other=0)
            direction = (here - there) / tl.where(length > 0, length, 1)
            total += direction * tl.load(upstream + cloud * (n - 1) + edge)
    tl.store(gradient + cloud * n * d + point.to(tl.int64) * d + coordinate, total, mask=real)
