"""The order of an epoch: any, or one that few blocks have to be in memory for."""

import numpy as np
import torch
from torch import Tensor

from persistill.data.sources.base import Blocks


def shuffled(count: int, blocks: Blocks | None, generator: torch.Generator) -> Tensor:
    """Positions of images in the order in which an epoch visits them.

    Without blocks, or where all of them fit into memory, every order is equally likely. Otherwise blocks are put on a
    circle, in an order drawn by lot, and every image moves ahead of its block by a random part of ``window`` blocks: a
    batch holds images of ``window`` blocks or one more, and each block is read once, or twice where the circle closes.

    Args:
        count: N.
        blocks: which images are read together; None if each is read by itself.
        generator: on the CPU.

    Returns:
        (N,) int64, each position once.
    """
    if blocks is None:
        return torch.randperm(count, generator=generator)
    used, block = np.unique(blocks.numbers, return_inverse=True)
    if len(used) <= blocks.window:
        return torch.randperm(count, generator=generator)
    place = torch.randperm(len(used), generator=generator)[torch.from_numpy(block)]
    ahead = blocks.window * torch.rand(count, dtype=torch.float64, generator=generator)
    return ((place + ahead) % len(used)).argsort(stable=True)
