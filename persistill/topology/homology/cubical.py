"""H0 and H1 of the sublevel sets of 2-D images, as cubical complexes."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_dtype, checked_flags, checked_number, on_cpu, require_finite
from persistill.topology._eager import eager
from persistill.topology._numba.cubical import merge, tables
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Diagrams

Construction = Literal["top_cells", "vertices"]

_CONSTRUCTIONS = ("top_cells", "vertices")
_DTYPES = ("uint8", "float32", "float64")
_BLOCK = 1 << 18  # pixels in one block of work: 2 MB at most, and its pairs about as much
_ROUND = 4  # blocks that each thread works on before their bars are put together
_LARGEST = 1 << 30  # pixels of one image: with a margin of two rows, positions must fit into 32 bits


@overload
def cubical_persistence(
    images: NDArray[Any],
    *,
    dimensions: Sequence[int] = (0, 1),
    construction: Construction = "top_cells",
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    threads: int | None = None,
) -> tuple[Diagrams[NDArray[Any]], ...]: ...
@overload
def cubical_persistence(
    images: Tensor,
    *,
    dimensions: Sequence[int] = (0, 1),
    construction: Construction = "top_cells",
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    threads: int | None = None,
) -> tuple[Diagrams[Tensor], ...]: ...
@eager
def cubical_persistence(
    images: Any,
    *,
    dimensions: Sequence[int] = (0, 1),
    construction: Construction = "top_cells",
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    threads: int | None = None,
) -> Any:
    """Components and holes of {x <= t} as t rises, for every image of a batch.

    A component is born at a local minimum and dies at the pixel that joins it to one with a lower minimum (elder
    rule). A hole is born at the pixel that closes a loop around it and dies at its highest pixel, where it is filled;
    if a hole is divided, the part with the lower maximum is the younger one and dies first. Equal pixels enter in
    raster order: of equal minima the first is the elder, of equal maxima the last. Bars of no length are never
    reported.

    Args:
        images: (..., H, W) uint8, float32 or float64, finite, H and W >= 1; 8-bit pixels are not converted. All but the
            last two axes are axes of the batch: a volume (D, H, W) is taken as D images, not as a complex of voxels.
        dimensions: 0 for components, 1 for holes, or both.
        construction: "top_cells" if pixels are squares, which touch at sides and corners; their holes touch at sides
            only. "vertices" if pixels are points of a grid: components touch at sides only, holes at corners too.
        superlevel: follow {x >= t} as t falls instead: births at maxima, birth >= death. The same as the negated
            diagrams of the negated images; equal pixels still enter in raster order.
        min_persistence: only bars that are longer than this, in the units of ``images``, are reported.
        essential: also report the component that never dies, as the last point of each diagram of dimension 0:
            (global minimum, inf), or (global maximum, -inf) of superlevel sets. Its levels, of 8-bit images, then
            become float32, which can hold them, and stay levels: the diagrams' ``scale`` is 255 either way.
        threads: how many threads; None for torch's number.

    Returns:
        For every one of ``dimensions``, in that order, Diagrams of shape (...) with indices, in NumPy arrays or torch
        tensors like the input. Indices are positions row * W + column of pixels. Values are gathered from ``images``,
        so gradients reach the critical pixels.

    Raises:
        TypeError: if ``images`` is no array or tensor of these dtypes.
        ValueError: if there is a NaN or an infinity (its index is named), or if a shape or an argument is not
            allowed.
    """
    checked_flags(superlevel=superlevel, essential=essential)
    data = _checked(images)
    wanted = tuple(dimensions) if isinstance(dimensions, Sequence) else ()
    if wanted not in {(0,), (1,), (0, 1), (1, 0)}:
        raise ValueError(f"dimensions must be (0,), (1,), (0, 1) or (1, 0); got {dimensions!r}.")
    if construction not in _CONSTRUCTIONS:
        raise ValueError(f"construction must be 'top_cells' or 'vertices'; got {construction!r}.")
    min_persistence = checked_number("min_persistence", min_persistence, 0, infinite=True)
    number_of_threads = checked_threads(threads)
    require_finite(data, "images")
    height, width = data.shape[-2:]
    batch = data.reshape(-1, height, width)
    counts = np.zeros((len(batch), 2), np.int64)
    steps = tables(width, diagonal=construction == "top_cells")
    room = height * width // 2 + 1

    def work(begin: int, start: int, stop: int) -> list[_Bars]:
        start, stop = begin + start, begin + stop
        # One layout in memory for one compiled kernel; a copy only of what has another or is read-only.
        block = np.require(batch[start:stop], requirements=["C", "A", "W"])
        bits = block.view(f"u{block.itemsize}")
        kind = bits.dtype.type
        sign = kind(0 if block.dtype == np.uint8 else 1 << 8 * block.itemsize - 1)
        flip = kind(np.iinfo(kind).max if superlevel else 0)
        pairs = [np.empty(((stop - start) * room if d in wanted else 0, 2), np.int64) for d in (0, 1)]
        found = merge(block, bits, sign, flip, *steps, float(min_persistence), essential, *pairs, counts[start:stop])
        return [_bars(block, pairs[d][: found[d]].copy(), counts[start:stop, d]) for d in wanted]

    # No more images in a block than gives every thread one; few blocks at a time, because their bars are held twice.
    block_size = max(1, min(_BLOCK // (height * width), -(-len(batch) // number_of_threads)))
    round_size = block_size * number_of_threads * _ROUND
    whole = [_Bars(np.empty((0, 2), np.int64), np.empty((0, 2), data.dtype)) for _ in wanted]
    for first in range(0, len(batch), round_size):
        parts = map_blocks(
            functools.partial(work, first), min(round_size, len(batch) - first), block_size, number_of_threads
        )
        for bars, added in zip(whole, zip(*parts, strict=True), strict=True):
            bars.append(added)
    never = -math.inf if superlevel else math.inf
    return tuple(
        _diagrams(images, bars, counts[:, dimension], dimension, never if essential and dimension == 0 else None)
        for dimension, bars in zip(wanted, whole, strict=True)
    )


class _Bars(NamedTuple):
    """Pixels (P, 2) of births and deaths, within their images, and their values (P, 2)."""

    indices: NDArray[np.int64]
    values: NDArray[Any]

    def append(self, parts: Sequence["_Bars"]) -> None:
        """Make room at the end, without a copy where the memory can grow in its place, and write ``parts`` there."""
        for whole, *added in zip(self, *parts, strict=True):
            end = len(whole)
            whole.resize((end + sum(map(len, added)), 2), refcheck=False)
            for part in added:
                whole[end : end + len(part)] = part
                end += len(part)


def _bars(images: NDArray[Any], indices: NDArray[np.int64], counts: NDArray[np.int64]) -> _Bars:
    """With the values at ``indices``, of which each image (n, H, W) has ``counts``; what is at -1 means nothing."""
    return _Bars(indices, images.reshape(-1).take(_positions(indices, counts, images[0].size)))


def _positions(indices: NDArray[np.int64], counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    starts = np.repeat(np.arange(len(counts)) * size, counts)
    positions: NDArray[np.int64] = starts[:, None] + indices.clip(min=0)
    return positions


def _checked(images: Any) -> NDArray[Any]:
    """``images`` in the memory of the CPU, in its byte order."""
    checked_dtype(images, "images", _DTYPES)
    if images.ndim < 2 or 0 in images.shape[-2:]:
        raise ValueError(f"images must have shape (..., H, W) with no side 0; got {tuple(images.shape)}.")
    if images.shape[-2] * images.shape[-1] > _LARGEST:
        raise ValueError(f"images must have at most {_LARGEST} pixels each; got {tuple(images.shape[-2:])}.")
    return on_cpu(images)


def _diagrams(
    images: Any, bars: _Bars, counts: NDArray[np.int64], dimension: int, never: float | None
) -> Diagrams[Any]:
    """Diagrams of ``counts`` bars each; unless None, ``never`` is the death that the index -1 stands for."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices, values = bars
    shape = tuple(images.shape[:-2])
    scale = 255.0 if values.dtype == np.uint8 else 1.0
    if never is not None:
        values = values.astype(np.float32) if values.dtype == np.uint8 else values
        values[indices < 0] = never
    if not isinstance(images, Tensor):
        return Diagrams(values, offsets, shape, indices=indices, dimension=dimension, scale=scale)
    where, bounds, tensor = (torch.from_numpy(array).to(images.device) for array in (indices, offsets, values))
    if images.requires_grad:
        positions = torch.from_numpy(_positions(indices, counts, images.shape[-2] * images.shape[-1]))
        gathered = images.reshape(-1)[positions.to(images.device)]
        tensor = gathered if never is None else gathered.masked_fill(where < 0, never)
    return Diagrams(tensor, bounds, shape, indices=where, dimension=dimension, scale=scale)
