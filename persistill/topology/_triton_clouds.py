"""Triton kernel for minimum spanning trees on a GPU: Prim's algorithm, one program for each cloud.

The distances of all points to the tree stay in registers; a step is a search for the least of them and a load of one
row of the matrix, which the program's processor has in its cache after the first touch. The n - 1 steps depend on each
other, and need nothing from the host.

*How far from the floor* (estimated, H100): a step waits for a load, some 0.3 us, and for a reduction over the points,
some 0.2 us; 64 points take about 0.03 ms however many clouds there are, up to several hundred. In torch operations the
same steps are 8 (n - 1) launches.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST = 1 << 14  # points whose distances to the tree fit into the registers of one program


def tree(distances: Tensor) -> tuple[Tensor, Tensor]:
    """End points (B, n - 1) int64 of the edges of the trees of (B, n, n) distances, the one in the tree first."""
    size, n, _ = distances.shape
    older = torch.empty((size, n - 1), dtype=torch.int64, device=distances.device)
    newer = torch.empty_like(older)
    side = triton.next_power_of_2(n)
    warps = min(8, max(1, side // 128))
    # There is no arithmetic to fuse: the option keeps Triton from warning that its default will change.
    _prim[(size,)](distances.contiguous(), older, newer, n, SIDE=side, num_warps=warps, enable_fp_fusion=False)
    return older, newer


@triton.jit
def _prim(distances: tl.tensor, older: tl.tensor, newer: tl.tensor, n: tl.tensor, SIDE: tl.constexpr) -> None:
    """Grow the tree of one cloud from its first point."""
    cloud = tl.program_id(0).to(tl.int64)
    distances += cloud * n * n
    older += cloud * (n - 1)
    newer += cloud * (n - 1)
    point = tl.arange(0, SIDE)
    outside = (point > 0) & (point < n)
    near = tl.load(distances + point, mask=outside, other=float("inf"))
    parent = tl.zeros((SIDE,), tl.int32)
    for step in range(n - 1):
        newest = tl.argmin(near, 0)
        tl.store(older + step, tl.sum(tl.where(point == newest, parent, 0), 0).to(tl.int64))
        tl.store(newer + step, newest.to(tl.int64))
        outside = outside & (point != newest)
        row = tl.load(distances + newest.to(tl.int64) * n + point, mask=outside, other=float("inf"))
        nearer = row < near
        parent = tl.where(nearer, newest, parent)
        near = tl.where(outside, tl.where(nearer, row, near), float("inf"))
