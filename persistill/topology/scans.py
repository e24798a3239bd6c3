"""Scans: orders in which the pixels of an image are read as a 1-D signal."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from persistill.topology.diagrams import Array
from persistill.topology.persistence_image.fields import Scan


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


def serpentine(images: Array) -> Array:
    """Read images row by row, every second row from the right: (..., H, W) -> (..., H * W).

    Neighbors in the signal are then neighbors in the image too, whereas ``rows`` jumps across the image at the end of
    every row.
    """
    _require_image(images)
    reversed_: Any = images.clone() if isinstance(images, Tensor) else images.copy()
    odd_rows: Any = images[..., 1::2, :]
    reversed_[..., 1::2, :] = odd_rows.flip(-1) if isinstance(images, Tensor) else odd_rows[..., ::-1]
    signals: Array = reversed_.reshape(*images.shape[:-2], -1)
    return signals


SCANS: dict[Scan, Callable[[NDArray[Any]], NDArray[Any]]] = {"rows": rows, "columns": columns}
"""The scans that ``scan_persistence_images`` knows, by name."""


def _require_image(images: NDArray[Any] | Tensor) -> None:
    if images.ndim < 2:
        raise ValueError(f"images must have shape (..., H, W); got {tuple(images.shape)}.")
