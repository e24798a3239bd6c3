"""H0 and H1 of the sublevel sets of 2-D images (cubical complexes)."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._kernels_cubical import merge, tables
from persistill.topology._threads import checked_threads, spread
from persistill.topology.diagrams import Diagrams
from persistill.topology.signals import require_finite

_DTYPES = ("uint8", "float32", "float64")
_BLOCK = 1 << 18

tables = functools.cache(tables)


def cubical_persistence(
    images,
    *,
    dimensions=(0, 1),
    construction="top_cells",
    superlevel=False,
    min_persistence=0.0,
    essential=False,
    threads=None,
):
    data = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
    require_finite(data, "images")
    height, width = data.shape[-2:]
    batch = data.reshape(-1, height, width)
    n = len(batch)
    room = height * width // 2 + 1
    counts = np.zeros((2, n), np.int64)
    t = tables(diagonal=construction == "top_cells")

    def work(start, stop):
        block = np.array(batch[start:stop], order="C")
        levels = _levels(block)
        if superlevel:
            levels = ~levels
        pairs = [np.empty(((stop - start) * room if d in dimensions else 0, 2), np.int64) for d in (0, 1)]
        totals = merge(block, levels, *t, min_persistence, essential, *pairs, counts[:, start:stop])
        return [p[:k].copy() for p, k in zip(pairs, totals)]

    threads = checked_threads(threads)
    blk = max(1, min(_BLOCK // (height * width), -(-n // threads)))
    parts = spread(work, n, blk, threads)
    out = []
    for d in dimensions:
        idx = np.concatenate([p[d] for p in parts]) if parts else np.empty((0, 2), np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts[d])]).astype(np.int64)
        positions = idx + np.repeat(np.arange(n) * (height * width), counts[d])[:, None]
        values = batch.reshape(-1)[positions.clip(min=0)]
        if essential and d == 0:
            values = values.astype(np.float32) if values.dtype == np.uint8 else values
            values[idx < 0] = np.inf
        out.append(Diagrams(values, offsets, data.shape[:-2], indices=idx, dimension=d))
    return tuple(out)


def _levels(images):
    if images.dtype == np.uint8:
        return images
    bits = images.view(np.int32 if images.dtype == np.float32 else np.int64)
    lowest = np.iinfo(bits.dtype).min
    return (np.where(bits < 0, lowest - bits, bits) ^ lowest).view(bits.dtype.str.replace("i", "u"))
