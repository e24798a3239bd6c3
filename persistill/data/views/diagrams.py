"""From images to their persistence diagrams, in whichever way a view reads them."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from persistill.topology import Diagrams, columns, cubical_persistence, rows, sublevel_persistence

Reading = Literal["H0", "H1", "rows", "columns"]
"""Components or holes of the image itself, as a cubical complex; or components of its signal along rows or columns."""

_DIMENSION = {"H0": 0, "H1": 1}
_SCANS = {"rows": rows, "columns": columns}


def read_diagrams(images: Any, readings: Sequence[Reading]) -> list[Diagrams[Any]]:
    """The finite diagrams of every channel of every image.

    Args:
        images: (B, C, H, W), uint8, or floating point in [0, 1], an array or a tensor on any device.
        readings: how each channel is read.

    Returns:
        For each reading, Diagrams of shape (B, C), in the units of ``images``, without the class that never dies.
    """
    dimensions = tuple(_DIMENSION[reading] for reading in ("H0", "H1") if reading in readings)
    found: dict[str, Diagrams[Any]] = {}
    if dimensions:
        cubical = cubical_persistence(images, dimensions=dimensions)
        found = {f"H{dimension}": one for dimension, one in zip(dimensions, cubical, strict=True)}
    for reading in readings:
        if reading in _SCANS:
            found[reading] = sublevel_persistence(_SCANS[reading](images))
    return [found[reading] for reading in readings]


def joined(diagrams: Sequence[Diagrams[Any]]) -> Diagrams[Any]:
    """Diagrams of shape (B, C) each, k of them -> one of shape (B, k, C), NumPy arrays."""
    batch, channels = diagrams[0].shape
    lists = [one.numpy().to_list() for one in diagrams]
    flat = [part for image in range(batch) for one in lists for part in one[image * channels : (image + 1) * channels]]
    whole = Diagrams.from_list(flat)
    shape = (batch, len(diagrams), channels)
    return Diagrams(whole.values, whole.offsets, shape, scale=diagrams[0].scale)


def stacked(views: Sequence[Tensor]) -> Tensor:
    """(B, C, H, W) each, k of them -> (B, k * C, H, W): all channels of the first, then of the second."""
    return torch.cat(list(views), 1)


def unit_grid(samples: int) -> np.ndarray:
    """(samples,) values of the filtration, evenly from 0 to 1."""
    return np.linspace(0.0, 1.0, samples)
