"""Who works on a tensor: compiled kernels on the CPU, or Triton's on a GPU."""

import functools
from typing import TypeGuard

from torch import Tensor


def on_gpu(array: object) -> TypeGuard[Tensor]:
    """Whether this is a tensor that Triton's kernels can work on where it is.

    Triton comes with torch's builds for GPUs on Linux; without it, tensors are copied to the CPU and back.
    """
    return isinstance(array, Tensor) and array.is_cuda and _triton()


@functools.cache
def _triton() -> bool:
    try:
        import triton  # noqa: F401, PLC0415  (slow to import)
    except ImportError:
        return False
    return True
