"""Persistence landscapes and silhouettes: piecewise-linear functions made of one tent for each point."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_count, checked_number
from persistill.topology._eager import eager
from persistill.topology._numba.landscapes import highest_tents
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.vectorization._batching import (
    Grid,
    as_tensor,
    checked_grid,
    checked_points,
    padded_batches,
    with_batch_shape,
)

_BLOCK = 64  # diagrams in one block of work


@eager
def landscapes(diagrams: Diagrams[Array], grid: Grid, *, levels: int = 5, threads: int | None = None) -> Array:
    """Persistence landscapes at the points of a grid.

    ``lambda_k(t)`` is the k-th largest of the tents ``max(0, min(t - b, d - t))``, 0 where there are fewer (Bubenik,
    Statistical topological data analysis using persistence landscapes, JMLR 16, 2015). GUDHI multiplies by sqrt(2).

    Args:
        diagrams: of shape (...), finite; 8-bit values stand for value / 255. Superlevel diagrams work alike: a
            tent stands between the lower and the upper end of its bar.
        grid: (G,) filtration values, strictly rising, used in the dtype of the diagrams.
        levels: how many functions, k = 1 ... levels.
        threads: how many threads; None for torch's number.

    Returns:
        (..., levels, G), differentiable (where tents tie, through one of them).

    Raises:
        TypeError: if an argument has a wrong type.
        ValueError: if a point is not finite (its number is named), if the grid does not rise, or ``levels`` < 1.
    """
    levels = checked_count("levels", levels)
    values = checked_points(diagrams)
    steps = checked_grid(grid, values)
    plain = values.detach().cpu().contiguous().numpy()
    bounds = as_tensor(diagrams.offsets).cpu().numpy()
    placed = steps.cpu().numpy()
    tracked = torch.is_grad_enabled() and values.requires_grad
    heights = np.empty((len(diagrams), levels, len(steps)), plain.dtype)
    winners: NDArray[np.int64] = np.empty(heights.shape if tracked else (0, levels, len(steps)), np.int64)

    def work(start: int, stop: int) -> None:
        best = winners[start:stop] if tracked else np.empty((stop - start, *winners.shape[1:]), np.int64)
        highest_tents(plain, bounds[start : stop + 1], placed, heights[start:stop], best)

    map_blocks(work, len(diagrams), _BLOCK, checked_threads(threads))
    tents = torch.from_numpy(heights).to(values.device)
    if tracked:
        owners = torch.from_numpy(winners).to(values.device)
        # A bar of length 0 stands at the end, where the owner -1 points.
        chosen = torch.cat([values, values.new_zeros(1, 2)])[owners]
        tents = torch.where(owners < 0, 0, torch.minimum(steps - chosen.amin(-1), chosen.amax(-1) - steps))
    result: Array = with_batch_shape(tents, diagrams)
    return result


@eager
def silhouettes(diagrams: Diagrams[Array], grid: Grid, *, power: float = 1.0) -> Array:
    """Power-weighted silhouettes at the points of a grid: the weighted mean of the tents.

    ``phi(t) = sum_i w_i max(0, min(t - b_i, d_i - t)) / sum_i w_i`` with weights ``w_i = (d_i - b_i) ** power``
    (Chazal et al., Stochastic convergence of persistence landscapes and silhouettes, SoCG 2014). GUDHI multiplies by
    sqrt(2). Points on the diagonal do not count, whatever the power; without other points the silhouette is 0.

    Args:
        diagrams: of shape (...), finite; 8-bit values stand for value / 255. Superlevel diagrams work alike.
        grid: (G,) filtration values, strictly rising, used in the dtype of the diagrams.
        power: 0 or more; 0 weighs all bars alike, larger powers favor long ones.

    Returns:
        (..., G), differentiable.

    Raises:
        TypeError: if an argument has a wrong type.
        ValueError: if a point is not finite (its number is named), if the grid does not rise, or ``power`` < 0.
    """
    power = checked_number("power", power, 0)
    values = checked_points(diagrams)
    steps = checked_grid(grid, values)
    parts = []
    for block in padded_batches(values, as_tensor(diagrams.offsets), len(steps)):
        lengths = (block[..., 1] - block[..., 0]).abs()
        lasting = lengths > 0
        # The longest bar gets weight 1: the ratio stays, and no scale of the values overflows.
        longest = lengths.detach().amax(1, keepdim=True) if block.shape[1] else lengths.new_ones(len(block), 1)
        relative = torch.where(lasting, lengths, 1) / torch.where(longest > 0, longest, 1)
        weights = torch.where(lasting, relative**power, 0)
        total = weights.sum(1, keepdim=True)
        weights = weights / torch.where(total > 0, total, 1)
        parts.append((weights[..., None] * _tents(block, steps)).sum(1))
    result: Array = with_batch_shape(torch.cat(parts), diagrams)
    return result


def _tents(bars: Tensor, grid: Tensor) -> Tensor:
    """(k, m, 2) births and deaths -> (k, m, G), 0 for bars without length."""
    low, high = bars.amin(2, keepdim=True), bars.amax(2, keepdim=True)
    return torch.minimum(grid - low, high - grid).clamp(min=0)
