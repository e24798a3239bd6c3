"""Persistence images on the CPU that carry gradients: drawn by the kernel, pulled back by another."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from persistill.topology._numba.persistence_image_exact import pull_back
from persistill.topology._numba.persistence_image_float32 import Drawing, draw_diagrams
from persistill.topology._parallel import spread

_BLOCK = 16  # diagrams in one block of work


def raw_images(values: Tensor, offsets: Tensor, drawing: Drawing, threads: int) -> Tensor:
    """Images (n, rows, columns) float64, before scaling, of diagrams (P, 2) float64 with bounds (n + 1,).

    Differentiable once in ``values``.
    """
    images: Tensor = _Drawn.apply(values, offsets.numpy(), drawing, threads)
    return images


class _Drawn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, offsets: NDArray[np.int64], drawing: Drawing, threads: int) -> Tensor:
        ctx.save_for_backward(values)
        ctx.rest = offsets, drawing, threads
        points = values.contiguous().numpy()
        rows, columns = len(drawing.row_lower), len(drawing.column_lower)
        out = np.empty((len(offsets) - 1, rows * columns))

        def work(start: int, stop: int) -> None:
            draw_diagrams(drawing, points, offsets[start : stop + 1], 1.0, out[start:stop])

        spread(work, len(out), _BLOCK, threads)
        return torch.from_numpy(out.reshape(len(out), rows, columns))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (values,) = ctx.saved_tensors
        offsets, drawing, threads = ctx.rest
        points, pulled = values.contiguous().numpy(), np.zeros(values.shape)
        images = gradients.contiguous().numpy()

        def work(start: int, stop: int) -> None:
            pull_back(
                points,
                offsets[start : stop + 1],
                drawing.threshold,
                drawing.linear,
                drawing.bandwidth,
                drawing.row_lower,
                drawing.row_upper,
                drawing.column_lower,
                drawing.column_upper,
                images[start:stop],
                pulled,
            )

        spread(work, len(images), _BLOCK, threads)
        return torch.from_numpy(pulled), None, None, None
