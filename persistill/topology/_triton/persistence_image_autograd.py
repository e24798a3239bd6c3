"""Persistence images on a GPU that carry gradients to the images, without waiting for the device.

Diagrams of fixed shape take the place of ragged ones: a signal of N samples has at most N // 2 bars, and those that it
does not have are points of no length, which weigh nothing. Triton's kernels find the samples at which bars begin and
end, their values are gathered, and torch renders them, a few signals at a time and once more in the backward pass, so
that profiles of the whole batch are never held.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from persistill.topology._reference import persistence_image as reference
from persistill.topology._triton.persistence_image import edges_of
from persistill.topology._triton.sublevel_1d import padded_pairs
from persistill.topology.persistence_image.config import PersistenceImageConfig

_NUMBERS = 1 << 24  # in the profiles of the signals that are rendered together


def scan_persistence_images(images: Tensor, config: PersistenceImageConfig, scans: Sequence[str]) -> Tensor:
    """``scan_persistence_images`` of checked images (B, C, H, W); persistence images of what is not finite are NaN."""
    count, channels, height, width = images.shape
    turned = [images if scan == "rows" else images.swapaxes(-1, -2) for scan in scans]
    signals = torch.cat([one.reshape(count, channels, height * width) for one in turned], 1).flatten(0, 1)
    where, counts = padded_pairs(signals.detach().contiguous(), config.min_persistence)
    size = max(1, _NUMBERS // (where.shape[1] * sum(config.pixels) or 1))
    parts = [
        checkpoint(_rendered, *part, config, use_reentrant=False, preserve_rng_state=False)
        for part in zip(*(torch.split(whole, size) for whole in (signals, where, counts)), strict=True)
    ]
    return torch.cat(parts).reshape(count, -1, *config.pixels)


def _rendered(signals: Tensor, where: Tensor, counts: Tensor, config: PersistenceImageConfig) -> Tensor:
    """(n, rows, columns) float32, signals (n, N) with bars at ``where`` (n, N // 2, 2), -1 beyond their ``counts``."""
    values = signals.double().gather(1, where.clamp(min=0).flatten(1)).reshape(where.shape)
    columns, rows = edges_of(config, signals.device)
    images = reference.persistence_images(
        values,
        columns=columns,
        rows=rows,
        bandwidth=config.bandwidth,
        min_persistence=config.min_persistence,
        linear=config.weight == "linear",
        scaling=config.scaling,
        scale=config.scale,
    )
    return images.masked_fill((counts < 0)[:, None, None], torch.nan).float()
