"""Images that look the same and are not equal: saved again, resized, or a little brighter. A hint, and no more."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.data.dataset import ImageDataset
from persistill.data.sources.base import IntArray

SMALLEST = 16
"""Images with a shorter side are not compared: small images look alike."""

_CHUNK = 256  # images
_BITS = 8  # of 64 that may differ
_CROWD = 64  # images that share 16 bits; more than so many are too plain to be told apart by them
_THUMBNAIL = 16  # pixels, height and width
_ENOUGH = 64  # rows or columns of an image that are looked at
_CORRELATION = 0.99  # of two thumbnails, from which images count as the same

Codes = npt.NDArray[np.uint64]


def near_duplicates(held_out: ImageDataset, train: ImageDataset) -> Iterator[tuple[int, int]]:
    """Images of one split that look like a training image.

    Candidates are found by difference hashes (64 bits: whether each of 8 x 8 cells is darker than its neighbor), whose
    four parts of 16 bits are looked up; of a pair, at most 8 bits differ. They are the same if thumbnails of 16 x 16
    gray pixels correlate by 0.99 or more. Pairs with up to three other bits are always found, but in crowds of plain
    images.

    Args:
        held_out: images of one split, in memory.
        train: the training images, in memory.

    Yields:
        Positions of an image and of the first training image that it looks like; equal images are among them.
    """
    if min(train.shape[1:]) < SMALLEST:
        return
    codes, thumbnails = _looks(held_out)
    known, known_thumbnails = _looks(train)
    found: dict[int, int] = {}
    for shift in (0, 16, 32, 48):
        part = np.uint64(0xFFFF << shift)
        for sharing in _sharing(codes & part, known & part):
            rows, others = sharing
            close = np.bitwise_count(codes[rows] ^ known[others]) <= _BITS
            rows, others = rows[close], others[close]
            same = np.einsum("np,np->n", thumbnails[rows], known_thumbnails[others]) >= _CORRELATION
            for row, other in zip(rows[same].tolist(), others[same].tolist(), strict=True):
                found[row] = min(other, found.get(row, other))
    yield from sorted(found.items())


def _looks(images: ImageDataset) -> tuple[Codes, npt.NDArray[np.float32]]:
    """(N,) difference hashes, and (N, 256) gray thumbnails of mean 0 and length 1; both 0 for images of one color."""
    codes = np.empty(len(images), np.uint64)
    thumbnails = np.empty((len(images), _THUMBNAIL**2), np.float32)
    weights = 1 << torch.arange(63, -1, -1, dtype=torch.int64)
    for start in range(0, len(images), _CHUNK):
        index = torch.arange(start, min(start + _CHUNK, len(images)))
        gray = _gray(images.fetch(index).cpu())
        cells = F.adaptive_avg_pool2d(gray, (8, 9))[:, 0]
        bits = (cells[:, :, 1:] > cells[:, :, :-1]).flatten(1)
        codes[start : start + len(index)] = (bits * weights).sum(1).numpy().view(np.uint64)
        small = F.adaptive_avg_pool2d(gray, _THUMBNAIL).flatten(1)
        thumbnails[start : start + len(index)] = F.normalize(small - small.mean(1, keepdim=True)).numpy()
    return codes, thumbnails


def _gray(pixels: Tensor) -> Tensor:
    """(B, 1, h, w) gray values of (B, C, H, W) uint8; of large images every second or nth row and column is enough."""
    step = max(1, min(pixels.shape[2:]) // _ENOUGH)
    return pixels[:, :, ::step, ::step].float().mean(1, keepdim=True)


def _sharing(codes: Codes, known: Codes) -> Iterator[tuple[IntArray, IntArray]]:
    """All pairs of positions with equal codes, some at a time; none of codes that more than ``_CROWD`` others have."""
    order = np.argsort(known, kind="stable")
    ranked = known[order]
    low, high = np.searchsorted(ranked, codes, "left"), np.searchsorted(ranked, codes, "right")
    counts = np.where(high - low <= _CROWD, high - low, 0)
    for start in range(0, len(codes), 4096):
        some = counts[start : start + 4096]
        rows = np.repeat(np.arange(start, start + len(some)), some)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(some) - some, some)
        yield rows, order[low[rows] + within]
