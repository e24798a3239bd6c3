"""How memory that ran out is told from other errors."""

import errno

import torch

_WORDS = (
    *("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory"),
    *("bad_alloc", "bad allocation"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out. torch has a class for it on GPUs alone, and words elsewhere."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)
