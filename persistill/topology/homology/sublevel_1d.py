"""H0 of the sublevel sets of 1-D signals."""

import math
from typing import Any, NamedTuple, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_dtype, checked_flags, checked_number, on_cpu, require_finite
from persistill.topology._dispatch import on_gpu
from persistill.topology._eager import eager
from persistill.topology._numba import sublevel_1d_simd as kernels
from persistill.topology._numba.llvm_vectors import LANES
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology.diagrams import Diagrams

_DTYPES = ("uint8", "float32", "float64")


@overload
def sublevel_persistence(
    signals: NDArray[Any],
    *,
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    indices: bool = True,
    threads: int | None = None,
) -> Diagrams[NDArray[Any]]: ...
@overload
def sublevel_persistence(
    signals: Tensor,
    *,
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    indices: bool = True,
    threads: int | None = None,
) -> Diagrams[Tensor]: ...
@eager
def sublevel_persistence(
    signals: Any,
    *,
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    indices: bool = True,
    threads: int | None = None,
) -> Any:
    """Connected components of {x <= t} as t rises, for every signal of a batch.

    A component is born at a local minimum and dies where it meets one with a lower minimum (elder rule). Equal
    samples count as rising with their index: of equal minima the leftmost is the elder, and a plateau is born at
    its first and kills at its last sample. Bars of no length are never reported.

    Args:
        signals: (..., N) uint8, float32 or float64, finite, N >= 1; 8-bit samples are not converted.
        superlevel: follow {x >= t} as t falls instead: births at maxima, birth >= death.
        min_persistence: only bars that are longer than this, in the units of ``signals``, are reported.
        essential: also report the component that never dies, as the last point of each diagram: (global minimum,
            inf), or (global maximum, -inf) of superlevel sets. Levels of 8-bit signals then become float32, which
            can hold them, and stay levels: the diagrams' ``scale`` is 255 either way.
        indices: record the positions of births and deaths, 16 bytes a bar.
        threads: how many threads; None for torch's number.

    Returns:
        Diagrams of shape (...), in NumPy arrays or torch tensors like the input. Values are gathered
        from ``signals``, so gradients reach the critical samples. Tensors on a GPU are worked on there; the host waits
        for the number of bars.

    Raises:
        TypeError: if ``signals`` is no array or tensor of these dtypes.
        ValueError: if there is a NaN or an infinity (its index is named), or if there are no samples.
    """
    checked_flags(superlevel=superlevel, essential=essential, indices=indices)
    scale = 255.0 if checked_dtype(signals, "signals", _DTYPES) == "uint8" else 1.0
    shape = tuple(signals.shape)
    if not shape or shape[-1] == 0:
        raise ValueError(f"signals must have shape (..., N) with N >= 1 samples; got {shape}.")
    min_persistence = checked_number("min_persistence", min_persistence, 0, infinite=True)
    if on_gpu(signals):
        from persistill.topology._triton import sublevel_1d as triton_signals  # noqa: PLC0415  (Triton need not be there)

        return triton_signals.sublevel_persistence(
            signals, min_persistence, superlevel=superlevel, essential=essential, indices=indices
        )
    data = on_cpu(signals)
    require_finite(data, "signals")
    flat = np.ascontiguousarray(data.reshape(-1, data.shape[-1]))
    follows = isinstance(signals, Tensor) and signals.requires_grad
    values, places, offsets = bars(
        flat, min_persistence, superlevel, essential, indices or follows or essential, checked_threads(threads)
    )
    shape = shape[:-1]
    never = -math.inf if superlevel else math.inf
    if essential:
        values = values.astype(np.float32) if values.dtype == np.uint8 else values
        values[places < 0] = never
    if not isinstance(signals, Tensor):
        return Diagrams(values, offsets, shape, indices=places if indices else None, scale=scale)
    tensor, bounds, where = (torch.from_numpy(array).to(signals.device) for array in (values, offsets, places))
    if follows:
        starts = torch.arange(len(flat), device=signals.device) * flat.shape[1]
        positions = where.clamp(min=0) + starts.repeat_interleave(bounds.diff())[:, None]
        tensor = torch.where(where < 0, never, signals.reshape(-1)[positions])
    return Diagrams(tensor, bounds, shape, indices=where if indices else None, scale=scale)


def bars(
    signals: NDArray[Any], min_persistence: float, superlevel: bool, essential: bool, placed: bool, threads: int
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Bars of checked, C-contiguous signals (n, N).

    Returns:
        Values (P, 2) in the dtype of the signals (a class that never dies has the death 0), their indices (P, 2), or
        (0, 2) unless ``placed``, and offsets (n + 1,).
    """
    n, samples = signals.shape
    offsets = np.zeros(n + 1, np.int64)
    kinds = _KernelTypes.of(signals.dtype, min_persistence)

    def oriented(start: int, stop: int) -> NDArray[Any]:
        block = signals[start:stop]
        if not superlevel:
            return block
        return ~block if block.dtype == np.uint8 else -block

    def count(start: int, stop: int) -> None:
        lanes = np.empty((kernels.CHUNK, LANES), signals.dtype)
        kernels.count_bars(
            oriented(start, stop), kinds.threshold, kinds.highest, int(essential), lanes, offsets[start + 1 : stop + 1]
        )

    def find(start: int, stop: int) -> None:
        lanes = np.empty((kernels.CHUNK, LANES), signals.dtype)
        stack = np.empty((2, samples // 2 + 2), type(kinds.bottom))
        kernels.find_bars(
            oriented(start, stop),
            kinds.threshold,
            kinds.highest,
            kinds.last,
            kinds.bottom,
            essential,
            lanes,
            stack,
            offsets[start : stop + 1],
            values,
            indices if placed else None,
        )

    # Many lanes a block, or two threads would spend their time on handing blocks out; enough blocks for all of them.
    block = LANES * max(1, min(16, n // (4 * threads * LANES)))
    # Twice through the signals, and the second time the bars have their place: no list of parts to join.
    map_blocks(count, n, block, threads)
    np.cumsum(offsets, out=offsets)
    values = np.empty((offsets[-1], 2), signals.dtype)
    indices = np.empty((offsets[-1] if placed else 0, 2), np.int64)
    map_blocks(find, n, block, threads)
    if superlevel:
        (np.invert if values.dtype == np.uint8 else np.negative)(values, out=values)
    return values, indices, offsets


class _KernelTypes(NamedTuple):
    """The least length and the largest numbers that a kernel compares with, in the types that it wants."""

    threshold: np.uint8 | np.float64
    highest: np.uint8 | np.float32 | np.float64
    last: np.int64 | np.float64
    bottom: np.int64 | np.float64

    @classmethod
    def of(cls, dtype: np.dtype[Any], min_persistence: float) -> Self:
        if dtype == np.uint8:
            least = np.uint8(min(255, math.floor(min(255, min_persistence))))
            return cls(least, np.uint8(255), np.int64(255), np.int64(256))
        top = np.finfo(np.float64).max
        return cls(np.float64(min_persistence), dtype.type(np.inf), top, np.float64(np.inf))
