"""Persistence images of diagrams: by compiled kernels, by Triton on a GPU, by torch where gradients need it."""

import dataclasses
import math
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._dispatch import on_gpu
from persistill.topology._eager import eager
from persistill.topology._numba.persistence_image_float32 import render_diagrams
from persistill.topology._parallel import checked_threads, map_blocks
from persistill.topology._reference import persistence_image as reference
from persistill.topology.diagrams import Diagrams
from persistill.topology.persistence_image._autograd import unscaled_images
from persistill.topology.persistence_image._tables import float_tables, kernel_settings
from persistill.topology.persistence_image.config import PersistenceImageConfig, require_config
from persistill.topology.vectorization._batching import padded_batches

_BLOCK = 64  # diagrams in one block of work


@overload
def persistence_images(
    diagrams: Diagrams[NDArray[Any]], config: PersistenceImageConfig, *, threads: int | None = None
) -> NDArray[np.float32]: ...
@overload
def persistence_images(
    diagrams: Diagrams[Tensor], config: PersistenceImageConfig, *, threads: int | None = None
) -> Tensor: ...
@eager
def persistence_images(diagrams: Diagrams[Any], config: PersistenceImageConfig, *, threads: int | None = None) -> Any:
    """Persistence images of the diagrams of a batch.

    Args:
        diagrams: of shape (...), finite; see ``Diagrams.finite`` and ``Diagrams.cut``.
        config: the window, its resolution, the bandwidth, weights and scaling.
        threads: how many threads; None for torch's number.

    Returns:
        (..., rows, columns) float32, a NumPy array or a torch tensor like the diagrams. Where the values of the
        diagrams require gradients, the persistence images carry them; a second derivative is slower than the first.

    Raises:
        TypeError: if ``diagrams`` are no Diagrams. Images are what ``scan_persistence_images`` takes.
        ValueError: if a point is not finite (its number is named).
    """
    if not isinstance(diagrams, Diagrams):
        raise TypeError(
            f"diagrams must be Diagrams (see Diagrams.from_list); got {type(diagrams).__name__}. "
            "For images there is scan_persistence_images."
        )
    require_config(config)
    tensors = isinstance(diagrams.values, Tensor)
    if on_gpu(diagrams.values) and not diagrams.values.requires_grad:
        # Triton comes only with torch's builds for GPUs.
        from persistill.topology._triton import persistence_image as triton_kernels  # noqa: PLC0415

        return triton_kernels.persistence_images(diagrams, config)
    plain = diagrams.numpy()
    if not np.isfinite(plain.values).all():
        point = int(np.flatnonzero(~np.isfinite(plain.values).all(1))[0])
        raise ValueError(
            f"point {point} of the diagrams is {plain.values[point]}; drop classes that never die with "
            "finite(), or let them end with cut()."
        )
    if tensors and diagrams.values.requires_grad:
        return _differentiable(diagrams, config, checked_threads(threads))
    out = np.empty((len(plain), math.prod(config.pixels)), np.float32)
    settings = kernel_settings(config)

    def work(start: int, stop: int) -> None:
        render_diagrams(settings, plain.values, plain.offsets[start : stop + 1], plain.scale, out[start:stop])

    map_blocks(work, len(plain), _BLOCK, checked_threads(threads))
    out = out.reshape(*plain.shape, *config.pixels)
    return torch.from_numpy(out).to(diagrams.values.device) if tensors else out


def _differentiable(diagrams: Diagrams[Tensor], config: PersistenceImageConfig, threads: int) -> Tensor:
    values = diagrams.values.double()
    values = values if diagrams.scale == 1 else values / diagrams.scale
    if values.device.type == "cpu":
        settings = kernel_settings(dataclasses.replace(config, scaling="none"))
        settings = settings._replace(limit=float_tables(config)[2])
        unscaled = unscaled_images(values, diagrams.offsets, settings, threads)
        images = reference.scaled(unscaled, config.scaling, config.scale)
    else:
        columns, rows = (
            tuple(torch.from_numpy(edge).to(values.device) for edge in config.edges(axis))
            for axis in ("births", "persistences")
        )
        blocks = [
            reference.persistence_images(
                block,
                columns=(columns[0], columns[1]),
                rows=(rows[0], rows[1]),
                bandwidth=config.bandwidth,
                min_persistence=config.min_persistence,
                linear=config.weight == "linear",
                scaling=config.scaling,
                scale=config.scale,
            )
            for block in padded_batches(values, diagrams.offsets, sum(config.pixels))
        ]
        images = torch.cat(blocks)
    return images.reshape(*diagrams.shape, *config.pixels).float()
