"""Who works on a tensor: compiled kernels on the CPU, or Triton's on a GPU."""

import functools
from contextlib import AbstractContextManager
from typing import TypeGuard

import torch
from torch import Tensor


def on_gpu(array: object) -> TypeGuard[Tensor]:
    """Whether this is a tensor that Triton's kernels can work on where it is.

    Triton comes with torch's builds for GPUs on Linux; without it, tensors are copied to the CPU and back.
    """
    return isinstance(array, Tensor) and array.is_cuda and _triton()


def device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Makes the device of ``tensor`` the current one, on which Triton launches its kernels."""
    manager: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return manager


@functools.cache
def _triton() -> bool:
    try:
        import triton  # noqa: F401, PLC0415  (slow to import)
    except ImportError:
        return False
    return True
