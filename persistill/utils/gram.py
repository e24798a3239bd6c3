"""Inner products of all pairs of rows, on the CPU in a third of the time of a product of two matrices.

``rows @ rows.T`` computes every pair twice, and BLAS has a routine for that which torch does not offer. The kernel here
computes each pair once. It keeps the sums of 4 x 4 pairs in registers, reads eight rows for sixteen products, and takes
the columns in pieces that stay in the cache.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

_FEW = 2**22  # products for which it is not worth the while
_SLICE = 2**14  # columns that one thread sums up; the same ones for any number of threads, and so the same bits
_PIECE = 1024  # columns that are looked at together: 512 kB for a batch of 128


def gram_matrix(rows: Tensor) -> Tensor:
    """``rows @ rows.T``, with gradients: in float32 on the CPU by the kernel, else as it stands there.

    Args:
        rows: (B, N).

    Returns:
        (B, B), symmetric to the bit where the kernel computed it.
    """
    by_torch = rows.device.type != "cpu" or rows.dtype != torch.float32 or torch.compiler.is_compiling()
    if by_torch or len(rows) * rows.numel() < _FEW:
        return rows @ rows.T
    result: Tensor = _Gram.apply(rows)
    return result


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor) -> Tensor:
        data = rows.detach().contiguous().numpy()
        count, columns = data.shape
        starts = range(0, columns, _SLICE)
        padded = -(-count // 4) * 4
        parts = np.zeros((len(starts), padded, padded), np.float32)

        def work(number: int) -> None:
            _add_products(data, starts[number], min(starts[number] + _SLICE, columns), parts[number])

        threads = min(torch.get_num_threads(), len(starts))
        if threads <= 1:
            list(map(work, range(len(starts))))
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(work, range(len(starts))))
        lower = np.tril(parts.sum(0)[:count, :count])
        return torch.from_numpy(lower + np.tril(lower, -1).T)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (rows,), (gradient,) = ctx.saved_tensors, gradients
        both: Tensor = (gradient + gradient.T) @ rows
        return both


# NaN and infinities must come through, so of "fast" arithmetic only the freedoms that vectors need.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_products(rows: NDArray[Any], first: int, last: int, out: NDArray[Any]) -> None:
    """Add the products of columns ``first`` to ``last`` to the lower triangle of ``out``, and somewhat beyond.

    ``out`` has a multiple of 4 rows; what lies beyond the number of ``rows`` holds nothing of meaning.
    """
    end = len(rows) - 1
    zero = np.float32(0)
    for start in range(first, last, _PIECE):
        stop = min(start + _PIECE, last)
        for i in range(0, len(out), 4):
            a0, a1 = rows[i, start:stop], rows[min(i + 1, end), start:stop]
            a2, a3 = rows[min(i + 2, end), start:stop], rows[min(i + 3, end), start:stop]
            for j in range(0, i + 1, 4):
                b0, b1 = rows[j, start:stop], rows[min(j + 1, end), start:stop]
                b2, b3 = rows[min(j + 2, end), start:stop], rows[min(j + 3, end), start:stop]
                s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
                s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
                for k in range(stop - start):
                    x0, x1, x2, x3 = a0[k], a1[k], a2[k], a3[k]
                    y0, y1, y2, y3 = b0[k], b1[k], b2[k], b3[k]
                    s00 += x0 * y0
                    s01 += x0 * y1
                    s02 += x0 * y2
                    s03 += x0 * y3
                    s10 += x1 * y0
                    s11 += x1 * y1
                    s12 += x1 * y2
                    s13 += x1 * y3
                    s20 += x2 * y0
                    s21 += x2 * y1
                    s22 += x2 * y2
                    s23 += x2 * y3
                    s30 += x3 * y0
                    s31 += x3 * y1
                    s32 += x3 * y2
                    s33 += x3 * y3
                out[i, j] += s00
                out[i, j + 1] += s01
                out[i, j + 2] += s02
                out[i, j + 3] += s03
                out[i + 1, j] += s10
                out[i + 1, j + 1] += s11
                out[i + 1, j + 2] += s12
                out[i + 1, j + 3] += s13
                out[i + 2, j] += s20
                out[i + 2, j + 1] += s21
                out[i + 2, j + 2] += s22
                out[i + 2, j + 3] += s23
                out[i + 3, j] += s30
                out[i + 3, j + 1] += s31
                out[i + 3, j + 2] += s32
                out[i + 3, j + 3] += s33
