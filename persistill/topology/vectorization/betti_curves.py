"""Betti and Euler characteristic curves: how many classes are alive along the filtration."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from persistill.topology._checks import checked_flags
from persistill.topology._eager import eager
from persistill.topology._numba.betti_curves import alive
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.vectorization._batching import (
    Grid,
    as_tensor,
    checked_grid,
    checked_points,
    require_one_batch,
    sum_by_diagram,
    with_batch_shape,
)

_BLOCK = 256  # diagrams in one block of work


@eager
def betti_curves(diagrams: Diagrams[Array], grid: Grid, *, mean: bool = False, threads: int | None = None) -> Array:
    """How many classes are alive at each value of a grid.

    ``beta(t) = #{(b, d): b <= t < d}``, and for superlevel diagrams ``#{(b, d): d < t <= b}``. Classes that never
    die count from their birth on.

    Args:
        diagrams: of shape (...), births finite; 8-bit values stand for value / 255.
        grid: (G,) filtration values, strictly rising, used in the dtype of the diagrams.
        mean: instead of values at the grid's points, means over its cells: the integral of beta over
            [grid[i], grid[i + 1]] divided by its length, exact. Beta itself is a step function, which has no
            useful gradient; its means are differentiable.
        threads: how many threads count (not for means, and on the CPU); None for torch's number.

    Returns:
        (..., G), or (..., G - 1) means, floating point.

    Raises:
        TypeError: if these are no diagrams of uint8, float32 or float64, or the grid is not made of numbers.
        ValueError: if a birth is not finite or a death is NaN (the point is named), or the grid does not rise.
    """
    checked_flags(mean=mean)
    values = checked_points(diagrams, infinite=True)
    steps = checked_grid(grid, values, 2 if mean else 1)
    workers = checked_threads(threads)
    if not mean and values.device.type == "cpu":
        counts = _counted(values.detach(), as_tensor(diagrams.offsets), steps, workers)
    else:
        counts = (_means if mean else _counts)(values, as_tensor(diagrams.diagram_index), len(diagrams), steps)
    curves: Array = with_batch_shape(counts, diagrams)
    return curves


@eager
def euler_curves(
    diagrams: Sequence[Diagrams[Array]], grid: Grid, *, mean: bool = False, threads: int | None = None
) -> Array:
    """Euler characteristic along the filtration: the alternating sum of the Betti curves of all dimensions.

    ``chi(t) = sum_k (-1)^k beta_k(t)``. It is the Euler characteristic of the complex where the diagrams hold all
    its dimensions and the classes that never die.

    Args:
        diagrams: one for each dimension, all of one shape (...), whose ``dimension`` gives the sign.
        grid: as for ``betti_curves``.
        mean: as for ``betti_curves``.
        threads: as for ``betti_curves``.

    Returns:
        (..., G), or (..., G - 1) means, floating point.

    Raises:
        TypeError: as ``betti_curves``.
        ValueError: as ``betti_curves``; or if there are no diagrams, two of one dimension, or unequal shapes.
    """
    require_one_batch(diagrams)
    curves: Any = 0
    for one in diagrams:
        curve: Any = betti_curves(one, grid, mean=mean, threads=threads)
        curves = curves + (-1) ** one.dimension * curve
    result: Array = curves
    return result


def _counted(values: Tensor, offsets: Tensor, grid: Tensor, threads: int) -> Tensor:
    """Counts by the kernel: (n, G)."""
    plain, bounds, steps = values.contiguous().numpy(), offsets.numpy(), grid.numpy()
    out = np.empty((len(bounds) - 1, len(steps)), plain.dtype)

    def work(start: int, stop: int) -> None:
        alive(plain, bounds[start : stop + 1], steps, out[start:stop])

    map_blocks(work, len(out), _BLOCK, threads)
    return torch.from_numpy(out)


def _counts(values: Tensor, diagram_index: Tensor, count: int, grid: Tensor) -> Tensor:
    # For other devices than the CPU.
    births, deaths = values.detach().unbind(1)
    # A bar covers the grid's points from `first` to before `last`: closed at the birth, open at the death.
    falling = deaths < births
    low, high = _ends(values.detach())
    first = torch.where(falling, torch.searchsorted(grid, low, right=True), torch.searchsorted(grid, low))
    last = torch.where(falling, torch.searchsorted(grid, high, right=True), torch.searchsorted(grid, high))
    changes = _histogram(diagram_index, first, count, len(grid) + 1) - _histogram(
        diagram_index, last, count, len(grid) + 1
    )
    return changes.cumsum(1)[:, :-1].to(values.dtype)


def _means(values: Tensor, diagram_index: Tensor, count: int, grid: Tensor) -> Tensor:
    low, high = _ends(values)
    return _shares_above(low, diagram_index, count, grid) - _shares_above(high, diagram_index, count, grid)


def _shares_above(bounds: Tensor, diagram_index: Tensor, count: int, grid: Tensor) -> Tensor:
    """The share of each cell that lies above each bound, summed over a diagram's bounds: (count, cells)."""
    cells = len(grid) - 1
    bounds = bounds.clamp(grid[0], grid[-1])
    cell = (torch.searchsorted(grid, bounds.detach(), right=True) - 1).clamp(max=cells - 1)
    shares = (grid[cell + 1] - bounds) / (grid[cell + 1] - grid[cell])
    partly = sum_by_diagram(shares, diagram_index * cells + cell, count * cells).reshape(count, cells)
    # Whole cells are counted in integers: a running sum of shares would drift.
    passed = _histogram(diagram_index, cell, count, cells)
    return partly + (passed.cumsum(1) - passed)


def _histogram(diagram_index: Tensor, places: Tensor, count: int, width: int) -> Tensor:
    """How many points of each diagram lie at each of ``width`` places: (count, width) int64."""
    return torch.bincount(diagram_index * width + places, minlength=count * width).reshape(count, width)


def _ends(values: Tensor) -> tuple[Tensor, Tensor]:
    """The lower and the upper ends of bars (P, 2), whichever of them is the birth."""
    return values.amin(1), values.amax(1)
