"""The bars of some of the images: what a window is fitted to, and how much of them a window holds."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from persistill.data.streaming.base import Survey, Unreadable
from persistill.errors import UserError
from persistill.extraction.outputs import Pixels, ScanConfig
from persistill.topology import Diagrams, PersistenceImageConfig, fit_persistence_images
from persistill.utils.progress import Progress

SAMPLE_IMAGES = 1000
"""So many images are looked at, evenly spaced ..."""
SAMPLE_SAMPLES = 1 << 24
"""... or fewer, of large images: so many samples of their signals."""

_BLOCK = 1 << 22  # samples of signals at once


class WindowSample(NamedTuple):
    """Bars of some of the images.

    Attributes:
        diagrams: of every scan and channel of these images, without bars too short and the class that never dies.
        images: how many images these are.
        low: the least of their values, as they are stored.
        high: the largest.
    """

    diagrams: Diagrams[Pixels]
    images: int
    low: float
    high: float


class WindowShare(NamedTuple):
    """How much of the bars a window holds.

    Attributes:
        images: how many images were looked at.
        bars: how many of their bars are longer than the settings' ``min_persistence``.
        inside: how many of these lie in the window.
        persistence: the share of their total persistence that lies in the window, from 0 to 1; 0 where there are none.
    """

    images: int
    bars: int
    inside: int
    persistence: float


def take_sample(
    read: Callable[[Sequence[int]], Sequence[Pixels | Unreadable]],
    survey: Survey,
    scan_config: ScanConfig,
    min_persistence: float,
    progress: Progress,
) -> WindowSample:
    """Compute the diagrams of evenly spaced images.

    Args:
        read: gives images (C, H, W) at rising positions; those that are unreadable are passed over.
        survey: of the images.
        scan_config: how they are read.
        min_persistence: bars must be longer; of 8-bit images in units of 255 levels.
        progress: told how many images were looked at.
    """
    good = np.flatnonzero(survey.sizes[:, 0])
    samples = scan_config.signals * survey.sizes[good].astype(np.int64).prod(1).mean()
    count = max(1, min(len(good), SAMPLE_IMAGES, int(SAMPLE_SAMPLES / samples)))
    positions = good[np.arange(count) * len(good) // count].tolist()
    step = max(1, int(_BLOCK / samples))
    progress.start("looking at bars", count)
    parts: list[Pixels] = []
    ranges: list[tuple[float, float]] = []
    for start in range(0, count, step):
        block = positions[start : start + step]
        for image in read(block):
            if not isinstance(image, Unreadable):
                parts.extend(scan_config.diagrams(image[None], min_persistence))
                ranges.append((float(image.min()), float(image.max())))
        progress.advance(len(block))
    progress.finish()
    bounds = np.array(ranges).reshape(-1, 2)
    return WindowSample(
        Diagrams.from_list(parts), len(ranges), bounds[:, 0].min(initial=np.inf), bounds[:, 1].max(initial=-np.inf)
    )


def fit_window(sample: WindowSample, source: object, **given: Any) -> PersistenceImageConfig:
    """Settings that are fitted to a sample.

    Args:
        sample: of the images.
        source: where they lie.
        given: settings that are not to be fitted.

    Raises:
        UserError: if no bar is long enough.
    """
    try:
        return fit_persistence_images(sample.diagrams, **given)
    except ValueError as error:
        raise UserError(
            f"no window can be fitted to {sample.images:,} images of {source}: {error} Give a smaller "
            "--min-persistence, or a window of your own: --preset tgd --births 0,1 --persistences 0,1"
        ) from error


def measure_share(sample: WindowSample, settings: PersistenceImageConfig) -> WindowShare:
    """How much of the bars of a sample the window of these settings holds."""
    values = sample.diagrams.numpy().values.astype(np.float64) / sample.diagrams.scale
    lengths = values[:, 1] - values[:, 0]
    long = lengths > settings.min_persistence
    births, lengths = values[long, 0], lengths[long]
    inside = settings.contains(births, lengths)
    total = float(lengths.sum())
    return WindowShare(
        sample.images, len(lengths), int(inside.sum()), float(lengths[inside].sum()) / total if total else 0.0
    )
