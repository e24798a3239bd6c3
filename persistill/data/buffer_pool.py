"""Large arrays whose memory is used again: new pages at every step cost more than what is written on them."""

import weakref

import numpy as np
import torch
from torch import Tensor


class BufferPool:
    """Gives float32 tensors, whose memory is used again once no tensor looks at it any more."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, ...], list[np.ndarray]] = {}

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor in the memory of the CPU, with anything in it. Its views count as tensors that look at it."""
        idle = self._idle.setdefault(shape, [])
        memory = idle.pop() if idle else np.empty(shape, np.float32)
        # The tensor and its views keep this array, and nothing else does: when it goes, they have all gone.
        buffer = memory.view()
        weakref.finalize(buffer, idle.append, memory).atexit = False
        return torch.from_numpy(buffer)
