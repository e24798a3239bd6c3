"""The exact p-Wasserstein and bottleneck distances between persistence diagrams."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_number
from persistill.topology._eager import eager
from persistill.topology._numba import wasserstein as kernels
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.vectorization._batching import (
    as_tensor,
    checked_points,
    require_pairs,
    sum_by_diagram,
    with_batch_shape,
)

_BLOCK = 4  # pairs of diagrams in one block of work


@eager
def wasserstein(
    first: Diagrams[Array],
    second: Diagrams[Array],
    *,
    order: float = 1.0,
    ground: float = math.inf,
    threads: int | None = None,
) -> Array:
    """Exact p-Wasserstein distance between the i-th diagrams of two batches.

    ``W_p(D, E) = (min sum ||x - y||^p) ** (1 / p)`` over all matchings of D and E in which points may also be matched
    to their nearest point of the diagonal (Edelsbrunner and Harer, Computational topology, 2010, VIII.2). Classes
    that never die are matched among themselves, in the order of their births, at the distance of these; if the
    numbers of such classes differ, the distance is inf.

    Args:
        first: of shape (...), births finite; 8-bit values stand for value / 255.
        second: of the same shape and kind.
        order: p, at least 1.
        ground: norm in the plane, ``math.inf`` (the larger of the two coordinates' distances) or 2 (Euclidean);
            GUDHI's ``internal_p``.
        threads: how many threads; None for torch's number.

    Returns:
        (...,) distances, differentiable in both: the matching is found by an exact kernel (float64, on the CPU) and
        the distance is computed from the matched points. Where several matchings are best, the gradient is that of
        one of them; it is 0 at points that do not move. Memory: 8 bytes for each pair of points of one pair of
        diagrams and each thread.

    Raises:
        TypeError: if an argument has a wrong type, or one holds arrays and the other tensors.
        ValueError: if a birth is not finite or a death is NaN (the point is named), the shapes differ, or ``order``
            or ``ground`` is not allowed.
    """
    order = checked_number("order", order, 1)
    ground = checked_number("ground", ground, 1, infinite=True)
    if ground not in (2, math.inf):
        raise ValueError(f"ground must be 2 or math.inf; got {ground!r}.")
    ours, theirs = _sides(first, second)
    partners = np.empty(len(ours.plain), np.int64)

    def work(start: int, stop: int) -> None:
        bounds, others = ours.bounds[start : stop + 1], theirs.bounds[start : stop + 1]
        kernels.match(ours.plain, bounds, theirs.plain, others, order, ground == 2, partners)

    map_blocks(work, len(first), _BLOCK, checked_threads(threads))
    alone = np.ones(len(theirs.plain), bool)
    alone[partners[partners != kernels.DIAGONAL]] = False
    others = np.flatnonzero(alone)
    pairs = np.stack([np.arange(len(partners)), partners], 1)
    pairs = np.concatenate([pairs, np.stack([np.full(len(others), kernels.DIAGONAL), others], 1)])
    steps, diagram_index = _steps(ours, theirs, pairs, ground)
    # In units of each pair's longest step no power overflows or vanishes; the norm does not depend on the unit.
    count = len(first)
    longest = steps.new_zeros(count).scatter_reduce(0, diagram_index, steps.detach(), "amax")
    unit = torch.where(longest > 0, longest, 1)
    powers = sum_by_diagram((steps / unit[diagram_index]) ** order, diagram_index, count)
    norms = unit * torch.where(longest > 0, powers, 1) ** (1 / order)
    distances: Array = with_batch_shape(_or_infinite(torch.where(longest > 0, norms, 0), ours, theirs), first)
    return distances


@eager
def bottleneck(first: Diagrams[Array], second: Diagrams[Array], *, threads: int | None = None) -> Array:
    """Exact bottleneck distance between the i-th diagrams of two batches.

    ``W_inf(D, E) = min max ||x - y||_inf`` over all matchings of D and E in which points may also be matched to their
    nearest point of the diagonal (Edelsbrunner and Harer, Computational topology, 2010, VIII.2). Classes that never
    die are matched as in ``wasserstein``. It never exceeds the largest change of the values that were filtered.

    Args:
        first: of shape (...), births finite; 8-bit values stand for value / 255.
        second: of the same shape and kind.
        threads: how many threads; None for torch's number.

    Returns:
        (...,) distances, differentiable in both: through the pair of points (or the point and its distance from the
        diagonal) whose distance it is.

    Raises:
        TypeError: if an argument has a wrong type, or one holds arrays and the other tensors.
        ValueError: if a birth is not finite or a death is NaN (the point is named), or the shapes differ.
    """
    ours, theirs = _sides(first, second)
    pairs = np.empty((len(first), 2), np.int64)

    def work(start: int, stop: int) -> None:
        bounds, others = ours.bounds[start : stop + 1], theirs.bounds[start : stop + 1]
        kernels.bottlenecks(ours.plain, bounds, theirs.plain, others, pairs[start:stop])

    map_blocks(work, len(first), _BLOCK, checked_threads(threads))
    steps, diagram_index = _steps(ours, theirs, pairs[(pairs != kernels.DIAGONAL).any(1)], math.inf)
    longest = steps.new_zeros(len(first)).scatter_reduce(0, diagram_index, steps, "amax")
    distances: Array = with_batch_shape(_or_infinite(longest, ours, theirs), first)
    return distances


@dataclass(frozen=True)
class _Side:
    """The diagrams of one batch, prepared: first the points that die, then the classes that never do."""

    finite: Tensor  # (P, 2)
    diagram_index: Tensor  # (P,) the diagram of each
    plain: NDArray[np.float64]  # finite, for the kernels
    bounds: NDArray[np.int64]  # (n + 1,) of the diagrams in finite
    essential: Tensor  # (E,) births, sorted by diagram, death (-inf or inf) and birth
    essential_index: Tensor  # (E,)
    essential_counts: Tensor  # (n, 2) how many with death -inf and inf


def _sides(first: Diagrams[Any], second: Diagrams[Any]) -> tuple[_Side, _Side]:
    require_pairs(first, second)
    ours, theirs = checked_points(first, "first", infinite=True), checked_points(second, "second", infinite=True)
    dtype = torch.promote_types(ours.dtype, theirs.dtype)
    return _side(ours.to(dtype), first), _side(theirs.to(dtype), second)


def _side(values: Tensor, diagrams: Diagrams[Any]) -> _Side:
    count, index = len(diagrams), as_tensor(diagrams.diagram_index)
    dies = values[:, 1].isfinite()
    finite, essential = values[dies], values[~dies]
    upwards = (essential[:, 1] > 0).long()
    births = essential[:, 0].detach().cpu().numpy()
    order = torch.from_numpy(np.lexsort((births, upwards.cpu().numpy(), index[~dies].cpu().numpy())))
    return _Side(
        finite=finite,
        diagram_index=index[dies],
        plain=finite.detach().cpu().numpy().astype(np.float64, order="C"),
        bounds=np.concatenate([[0], index[dies].bincount(minlength=count).cumsum(0).cpu().numpy()]),
        essential=essential[order.to(values.device), 0],
        essential_index=index[~dies][order.to(values.device)],
        essential_counts=(2 * index[~dies] + upwards).bincount(minlength=2 * count).reshape(count, 2),
    )


def _comparable(ours: _Side, theirs: _Side) -> Tensor:
    """(n,) whether the classes that never die can be matched."""
    return (ours.essential_counts == theirs.essential_counts).all(1)


def _steps(ours: _Side, theirs: _Side, pairs: NDArray[np.int64], ground: float) -> tuple[Tensor, Tensor]:
    """How far the matched points are apart, and the index of the diagram of each.

    ``pairs`` (K, 2) holds positions in ``ours.finite`` and ``theirs.finite`` or, on one side, ``DIAGONAL``. The steps
    of the classes that never die follow.
    """
    i, j = torch.from_numpy(pairs).to(ours.diagram_index.device).unbind(1)
    both, left, right = (i >= 0) & (j >= 0), i[j < 0], j[i < 0]
    gaps = (ours.finite[i[both]] - theirs.finite[j[both]]).abs()
    fine = _comparable(ours, theirs)
    mine, yours = fine[ours.essential_index], fine[theirs.essential_index]
    steps = [
        gaps.amax(1) if ground == math.inf else _euclidean(gaps),
        _heights(ours.finite[left], ground),
        _heights(theirs.finite[right], ground),
        (ours.essential[mine] - theirs.essential[yours]).abs(),
    ]
    diagram_index = [
        ours.diagram_index[i[both]],
        ours.diagram_index[left],
        theirs.diagram_index[right],
        ours.essential_index[mine],
    ]
    return torch.cat(steps), torch.cat(diagram_index)


def _heights(finite: Tensor, ground: float) -> Tensor:
    """Distances of points from the diagonal."""
    return (finite[:, 1] - finite[:, 0]).abs() * (0.5 if ground == math.inf else math.sqrt(0.5))


def _euclidean(gaps: Tensor) -> Tensor:
    # At 0 the norm has no gradient; 0 is a subgradient.
    apart = gaps.amax(1) > 0
    x, y = torch.where(apart[:, None], gaps, 1).unbind(1)
    return torch.where(apart, torch.hypot(x, y), 0)


def _or_infinite(distances: Tensor, ours: _Side, theirs: _Side) -> Tensor:
    return torch.where(_comparable(ours, theirs), distances, math.inf)
