"""Persistence images on the CPU that carry gradients: rendered by one kernel, differentiated by another."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from persistill.topology._numba.persistence_image_exact import backward
from persistill.topology._numba.persistence_image_float32 import KernelSettings, render_diagrams
from persistill.topology._parallel import map_blocks

_BLOCK = 16  # diagrams in one block of work


def unscaled_images(values: Tensor, offsets: Tensor, settings: KernelSettings, threads: int) -> Tensor:
    """Persistence images (n, rows, columns) float64, before scaling, of diagrams (P, 2) float64 with bounds (n + 1,).

    Differentiable once in ``values``.
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
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (values,) = ctx.saved_tensors
        offsets, settings, threads = ctx.rest
        points, pulled = values.contiguous().numpy(), np.zeros(values.shape)
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
