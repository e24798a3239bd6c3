"""H0 of the sublevel sets of 1-D signals, and the scans that turn images into signals."""

from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._kernels_signals import finite, merge
from persistill.topology._threads import checked_threads, spread
from persistill.topology.diagrams import Array, Diagrams

_DTYPES = ("uint8", "float32", "float64")
_BLOCK = 1 << 16  # samples in one block of work: its pairs, 0.5 MB, stay in the cache


def rows(images: Array) -> Array:
    """Read images row by row, from the upper left: (..., H, W) -> (..., H * W)."""
    _require_image(images)
    signals: Array = images.reshape(*images.shape[:-2], -1)
    return signals


def columns(images: Array) -> Array:
    """Read images column by column, from the upper left: (..., H, W) -> (..., W * H), rows of the transpose."""
    _require_image(images)
    signals: Array = images.swapaxes(-1, -2).reshape(*images.shape[:-2], -1)
    return signals


@overload
def sublevel_persistence(
    signals: NDArray[Any],
    *,
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    threads: int | None = None,
) -> Diagrams[NDArray[Any]]: ...
@overload
def sublevel_persistence(
    signals: Tensor,
    *,
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
    threads: int | None = None,
) -> Diagrams[Tensor]: ...
def sublevel_persistence(
    signals: Any,
    *,
    superlevel: bool = False,
    min_persistence: float = 0.0,
    essential: bool = False,
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
        essential: also report the component that never dies, (global minimum, inf), as the last point of each
            diagram. Levels of 8-bit signals then become float32, which can hold inf.
        threads: how many threads; None for torch's number.

    Returns:
        Diagrams of shape (...) with indices, in NumPy arrays or torch tensors like the input. Values are gathered
        from ``signals``, so gradients reach the critical samples.

    Raises:
        TypeError: if ``signals`` is no array or tensor of these dtypes.
        ValueError: if there is a NaN or an infinity (its index is named), or if there are no samples.
    """
    if not isinstance(signals, np.ndarray | Tensor):
        raise TypeError(f"signals must be a NumPy array or a torch tensor; got {type(signals).__name__}.")
    data: NDArray[Any] = signals.detach().cpu().numpy() if isinstance(signals, Tensor) else signals
    if data.dtype.name not in _DTYPES:
        raise TypeError(f"signals must be {', '.join(_DTYPES)}; got {data.dtype.name}.")
    if data.ndim == 0 or data.shape[-1] == 0:
        raise ValueError(f"signals must have shape (..., N) with N >= 1 samples; got {data.shape}.")
    if not min_persistence >= 0:
        raise ValueError(f"min_persistence must be 0 or more; got {min_persistence}.")
    require_finite(data, "signals")
    flat = np.ascontiguousarray(data.reshape(-1, data.shape[-1]))
    indices, counts = pairs(flat, min_persistence, superlevel, essential, checked_threads(threads))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    positions = indices + np.repeat(np.arange(len(flat)) * flat.shape[1], counts)[:, None]
    shape = data.shape[:-1]
    if isinstance(signals, Tensor):
        device = signals.device
        where = torch.from_numpy(indices).to(device)
        tensor = signals.reshape(-1)[torch.from_numpy(positions.clip(min=0)).to(device)]
        if essential:
            tensor = torch.where(where < 0, torch.inf, tensor if tensor.is_floating_point() else tensor.float())
        return Diagrams(tensor, torch.from_numpy(offsets).to(device), shape, indices=where)
    values = flat.reshape(-1)[positions.clip(min=0)]
    if essential:
        values = values.astype(np.float32) if values.dtype == np.uint8 else values
        values[indices < 0] = np.inf
    return Diagrams(values, offsets, shape, indices=indices)


def pairs(
    signals: NDArray[Any], min_persistence: float, superlevel: bool, essential: bool, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (P, 2) of the births and deaths of checked, C-contiguous signals (n, N), and their counts (n,)."""
    n, samples = signals.shape
    counts = np.empty(n, np.int64)

    def work(start: int, stop: int) -> NDArray[np.int64]:
        block = signals[start:stop]
        if superlevel:
            block = ~block if block.dtype == np.uint8 else -block
        found = np.empty(((stop - start) * (samples // 2 + 1), 2), np.int64)
        return found[: merge(block, min_persistence, essential, found, counts[start:stop])].copy()

    parts = spread(work, n, max(1, _BLOCK // samples), threads)
    return (np.concatenate(parts) if parts else np.empty((0, 2), np.int64)), counts


def require_finite(data: NDArray[Any], name: str) -> None:
    """Raise a ValueError with the first index at which ``data`` holds a NaN or an infinity."""
    if data.dtype == np.uint8 or finite(data.reshape(-1, data.shape[-1])):
        return
    where = np.argwhere(~np.isfinite(data))[0].tolist()
    raise ValueError(f"{name}[{', '.join(map(str, where))}] is {data[tuple(where)]}; all values must be finite.")


def _require_image(images: NDArray[Any] | Tensor) -> None:
    if images.ndim < 2:
        raise ValueError(f"images must have shape (..., H, W); got {tuple(images.shape)}.")
