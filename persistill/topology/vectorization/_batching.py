"""What the vectorizations share: checked points as tensors, padded batches of points, and the way back."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology.diagrams import Diagrams

Grid = Sequence[float] | NDArray[Any] | Tensor
_DTYPES = ("uint8", "float32", "float64")
_NUMBERS = 1 << 18  # numbers in one intermediate array: 1 or 2 MB


def checked_points(diagrams: Diagrams[Any], name: str = "diagrams", *, infinite: bool = False) -> Tensor:
    """The points (P, 2) of ``diagrams`` as a floating-point tensor, over their scale and with their gradients.

    Args:
        diagrams: the diagrams.
        name: what the caller's argument is called.
        infinite: whether deaths may be infinite.

    Raises:
        TypeError: if they are no ``Diagrams`` of uint8, float32 or float64.
        ValueError: if a value is NaN or an infinity that is not allowed; the point is named.
    """
    if not isinstance(diagrams, Diagrams):
        raise TypeError(f"{name} must be Diagrams (see Diagrams.from_list); got {type(diagrams).__name__}.")
    kind = str(diagrams.values.dtype).removeprefix("torch.")
    if kind not in _DTYPES:
        raise TypeError(f"{name}.values must be {', '.join(_DTYPES)}; got {kind}.")
    values = as_tensor(diagrams.values)
    if not values.is_floating_point():
        return values.float() / diagrams.scale
    if not finite(values):
        fine = values.isfinite()
        if infinite:
            fine[:, 1] = ~values[:, 1].isnan()
        if bool(fine.all()):
            return values if diagrams.scale == 1 else values / diagrams.scale
        point = int((~fine.all(1)).nonzero()[0])
        owner = int((as_tensor(diagrams.offsets) <= point).nonzero()[-1])
        wanted = (
            "births must be finite and deaths must not be NaN."
            if infinite
            else "drop classes that never die with finite(), or let them end with cut()."
        )
        raise ValueError(f"point {point} of {name} (diagram {owner}) is {values[point].tolist()}; {wanted}")
    return values if diagrams.scale == 1 else values / diagrams.scale


def finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    # The extremes are found with vector instructions, and NaN is passed on: ten times faster than all().
    return values.numel() == 0 or all(math.isfinite(extreme) for extreme in values.detach().aminmax())


def as_tensor(array: Any) -> Tensor:
    """A tensor over the same memory where torch can share it (not with read-only arrays)."""
    return array if isinstance(array, Tensor) else torch.from_numpy(np.require(array, requirements=["C", "W"]))


def with_batch_shape(result: Tensor, diagrams: Diagrams[Any]) -> Any:
    """``result`` (n, ...) in the batch shape of ``diagrams``, as the kind of array that they hold."""
    result = result.reshape((*diagrams.shape, *result.shape[1:]))
    return result if isinstance(diagrams.values, Tensor) else result.numpy()


def sum_by_diagram(terms: Tensor, diagram_index: Tensor, count: int) -> Tensor:
    """Sums (count,) of ``terms`` (P,), each added to the diagram that ``diagram_index`` (P,) names."""
    return terms.new_zeros(count).index_add(0, diagram_index, terms)


def padded_batches(features: Tensor, offsets: Tensor, cells: int) -> Iterator[Tensor]:
    """Consecutive diagrams as padded batches, so small that ``cells`` numbers for every point fit into a cache.

    Args:
        features: (P, c), one row per point.
        offsets: (n + 1,), the bounds of the diagrams.
        cells: how many numbers the caller makes of one point.

    Yields:
        (k, m, c), k diagrams filled up with rows of zeros to m, the largest number of points among them. At least
        one batch comes, (0, 0, c) if there are no diagrams.
    """
    for (block,) in paired_padded_batches([features], [offsets], cells):
        yield block


def paired_padded_batches(features: Sequence[Tensor], offsets: Sequence[Tensor], cells: int) -> Iterator[list[Tensor]]:
    """The same for several batches with equal numbers of diagrams, whose i-th diagrams belong together."""
    bounds = [one.tolist() for one in offsets]
    counts = [one.diff() for one in offsets]
    total = len(counts[0])
    longest = sum(int(one.max()) for one in counts) if total else 0
    size = max(1, _NUMBERS // max(1, longest * cells))
    for start in range(0, max(1, total), size):
        stop = min(start + size, total)
        yield [
            padded(feature[bound[start] : bound[stop]], count[start:stop])
            for feature, bound, count in zip(features, bounds, counts, strict=True)
        ]


def padded(features: Tensor, counts: Tensor) -> Tensor:
    """Rows (P, c) of diagrams with ``counts`` (k,) points as (k, m, c), filled up with zeros."""
    longest = int(counts.max()) if len(counts) else 0
    if len(features) == len(counts) * longest:
        return features.reshape(len(counts), longest, features.shape[1])
    diagram_index = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    places = torch.arange(len(features), device=counts.device) - (counts.cumsum(0) - counts)[diagram_index]
    filled = features.new_zeros(len(counts), longest, features.shape[1])
    return filled.index_put((diagram_index, places), features)


def checked_grid(grid: Grid, values: Tensor, fewest: int = 1) -> Tensor:
    """The grid (G,) in the dtype and on the device of ``values``.

    Raises:
        TypeError: if it is not made of numbers.
        ValueError: if it does not rise strictly, is not finite, or has fewer than ``fewest`` values.
    """
    try:
        whole = torch.as_tensor(np.asarray(grid.detach().cpu() if isinstance(grid, Tensor) else grid, np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"grid must be a sequence of numbers; got {type(grid).__name__}.") from error
    if whole.ndim != 1 or len(whole) < fewest:
        raise ValueError(f"grid must have shape (G,) with G >= {fewest}; got {tuple(whole.shape)}.")
    placed = whole.to(values)
    if not bool(placed.isfinite().all()) or not bool((placed.diff() > 0).all()):
        raise ValueError(f"grid must be finite and rise strictly in {str(values.dtype).removeprefix('torch.')}.")
    return placed


def require_pairs(first: Diagrams[Any], second: Diagrams[Any]) -> None:
    """Raise unless both are diagrams of one shape and one kind of array."""
    for name, one in (("first", first), ("second", second)):
        if not isinstance(one, Diagrams):
            raise TypeError(f"{name} must be Diagrams (see Diagrams.from_list); got {type(one).__name__}.")
    if isinstance(first.values, Tensor) != isinstance(second.values, Tensor):
        raise TypeError("first and second must both hold NumPy arrays or both torch tensors; see numpy(), torch().")
    if first.shape != second.shape:
        raise ValueError(f"first and second must have one shape; got {first.shape} and {second.shape}.")


def require_one_batch(diagrams: Any) -> int:
    """The number of complexes whose diagrams these are, if every dimension comes once and all shapes are equal."""
    if isinstance(diagrams, Diagrams) or not isinstance(diagrams, Sequence) or not diagrams:
        raise ValueError("diagrams must be a sequence with one Diagrams for each dimension.")
    for number, one in enumerate(diagrams):
        if not isinstance(one, Diagrams):
            raise TypeError(f"diagrams[{number}] must be Diagrams (see Diagrams.from_list); got {type(one).__name__}.")
    dimensions = [one.dimension for one in diagrams]
    if len(set(dimensions)) < len(dimensions):
        raise ValueError(f"diagrams must have different dimensions; got {dimensions}.")
    if any(one.shape != diagrams[0].shape for one in diagrams):
        raise ValueError(f"diagrams must have one shape; got {', '.join(str(one.shape) for one in diagrams)}.")
    return len(diagrams[0])
