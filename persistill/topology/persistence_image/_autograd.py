"""Persistence images on the CPU that carry gradients: rendered by one kernel, differentiated by another."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._numba.persistence_image_exact import backward
from persistill.topology._numba.persistence_image_float32 import KernelSettings, render_diagrams
from persistill.topology._parallel import map_blocks
from persistill.topology._reference import persistence_image as reference
from persistill.topology.vectorization._batching import padded_batches

_BLOCK = 16  # diagrams in one block of work


def unscaled_images(values: Tensor, offsets: Tensor, settings: KernelSettings, threads: int) -> Tensor:
    """Persistence images (n, rows, columns) float64, before scaling, of diagrams (P, 2) float64 with bounds (n + 1,).

    Differentiable in ``values``: once by a kernel, and again by torch operations.
    """
    images: Tensor = _Render.apply(values, offsets.numpy(), settings, threads)
    return images


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, offsets: NDArray[np.int64], settings: KernelSettings, threads: int) -> Tensor:
        ctx.save_for_backward(values)
        ctx.rest = offsets, settings, threads
        points = values.contiguous().numpy()
        rows, columns = len(settings.row_lower), len(settings.column_lower)
        out = np.empty((len(offsets) - 1, rows * columns))

        def work(start: int, stop: int) -> None:
            render_diagrams(settings, points, offsets[start : stop + 1], 1.0, out[start:stop])

        map_blocks(work, len(out), _BLOCK, threads)
        return torch.from_numpy(out.reshape(len(out), rows, columns))

    @staticmethod
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (values,) = ctx.saved_tensors
        offsets, settings, threads = ctx.rest
        if torch.is_grad_enabled():  # with create_graph=True
            blocks = _by_torch(values, torch.from_numpy(offsets), settings)
            (pulled,) = torch.autograd.grad(torch.cat(blocks), values, gradients, create_graph=True)
            return pulled, None, None, None
        points, pulled = values.detach().contiguous().numpy(), np.zeros(values.shape)
        images = gradients.contiguous().numpy()

        def work(start: int, stop: int) -> None:
            backward(
                points,
                offsets[start : stop + 1],
                settings.threshold,
                settings.linear,
                settings.bandwidth,
                settings.row_lower,
                settings.row_upper,
                settings.column_lower,
                settings.column_upper,
                images[start:stop],
                pulled,
            )

        map_blocks(work, len(images), _BLOCK, threads)
        return torch.from_numpy(pulled), None, None, None


def _by_torch(values: Tensor, offsets: Tensor, settings: KernelSettings) -> list[Tensor]:
    """The same persistence images by torch operations, a few diagrams at a time."""
    rows = torch.from_numpy(settings.row_lower), torch.from_numpy(settings.row_upper)
    columns = torch.from_numpy(settings.column_lower), torch.from_numpy(settings.column_upper)
    return [
        reference.persistence_images(
            block,
            columns=columns,
            rows=rows,
            bandwidth=settings.bandwidth,
            min_persistence=settings.threshold,
            linear=settings.linear,
            scaling="none",
            scale=1.0,
        )
        for block in padded_batches(values, offsets, len(rows[0]) + len(columns[0]))
    ]
