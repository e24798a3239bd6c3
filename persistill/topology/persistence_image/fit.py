"""Settings of persistence images that are fitted to the diagrams of a training set."""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._checks import checked_number
from persistill.topology._eager import eager
from persistill.topology.diagrams import Array, Diagrams
from persistill.topology.persistence_image.config import LARGEST, PersistenceImageConfig
from persistill.topology.persistence_image.fields import (
    FITTED_PIXELS,
    FITTED_SCALING,
    MIN_PERSISTENCE,
    QUANTILE,
    WEIGHT,
    Scaling,
    Weight,
)
from persistill.topology.persistence_image.from_diagrams import persistence_images

_SAMPLE = 1000  # diagrams whose persistence images the intensity scale is fitted to


@eager
def fit_persistence_images(
    diagrams: Diagrams[Array],
    *,
    pixels: tuple[int, int] = FITTED_PIXELS.default,
    quantile: float = QUANTILE.default,
    bandwidth: float | None = None,
    min_persistence: float = MIN_PERSISTENCE.default,
    weight: Weight = WEIGHT.default,
    scaling: Scaling = FITTED_SCALING.default,
) -> PersistenceImageConfig:
    """Settings that fit a training set: a window that holds its persistence, and a matching bandwidth.

    Points count by their persistence, so that the window is laid around what lasts and not around noise. It
    spans births from the (1 - quantile) to the quantile and persistences from 0 to the quantile. The scale of
    logarithmic intensities is the mean intensity of a pixel (over at most 1000 evenly spaced diagrams). Where all
    births are equal, as those of binary images, the window is as wide as it is high, with the births in its middle.

    Args:
        diagrams: diagrams of the training set, at least one point longer than ``min_persistence``.
        pixels: (rows, columns).
        quantile: share of the total persistence below the window's upper edges, above 0.5 and at most 1.
        bandwidth: None for the geometric mean of a pixel's sides.
        min_persistence: as in the settings.
        weight: as in the settings.
        scaling: as in the settings.

    Returns:
        The settings, with ``grid="tiled"``.

    Raises:
        TypeError: if ``diagrams`` are no Diagrams.
        ValueError: if no point remains, or if a value is not allowed.
    """
    pixels = PersistenceImageConfig(pixels).pixels
    quantile = checked_number("quantile", quantile)
    min_persistence = checked_number("min_persistence", min_persistence, 0)
    if not QUANTILE.allows(quantile):
        raise ValueError(f"quantile must be {QUANTILE.allowed}; got {quantile}.")
    if not isinstance(diagrams, Diagrams):
        raise TypeError(f"diagrams must be Diagrams (see Diagrams.from_list); got {type(diagrams).__name__}.")
    values = diagrams.numpy().values.astype(np.float64) / diagrams.scale
    lengths = np.abs(values[:, 1] - values[:, 0])
    kept = (lengths > min_persistence) & np.isfinite(lengths)
    born, lengths = values[kept, 0], lengths[kept]
    if len(lengths) == 0:
        raise ValueError(f"diagrams hold no finite bar longer than min_persistence={min_persistence}.")
    if max(np.abs(born).max(), lengths.max()) > LARGEST:
        raise ValueError(f"diagrams hold bars beyond {LARGEST:g} in size, for which there are no persistence images.")
    births = (_weighted_quantile(born, lengths, 1 - quantile), _weighted_quantile(born, lengths, quantile))
    persistences = (0.0, _weighted_quantile(lengths, lengths, quantile))
    if births[0] == births[1]:
        births = (births[0] - persistences[1] / 2, births[1] + persistences[1] / 2)
    if bandwidth is None:
        bandwidth = math.sqrt((births[1] - births[0]) / pixels[1] * persistences[1] / pixels[0])
    config = PersistenceImageConfig(
        pixels, bandwidth, births, persistences, min_persistence, weight, grid="tiled", scaling="none"
    )
    scale = 1.0
    if scaling == "log":
        bounds = diagrams.numpy().offsets
        picked = np.unique(np.linspace(0, len(diagrams) - 1, min(len(diagrams), _SAMPLE)).astype(int))
        sample = Diagrams.from_list([values[bounds[i] : bounds[i + 1]] for i in picked]).finite()
        scale = float(persistence_images(sample, config).mean(dtype=np.float64)) or 1.0
    return dataclasses.replace(config, scaling=scaling, scale=scale)


def _weighted_quantile(values: NDArray[Any], weights: NDArray[Any], quantile: float) -> float:
    """The least value at or below which lies the share ``quantile`` of the weight."""
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    position = np.searchsorted(cumulated, quantile * cumulated[-1])
    return float(values[order][min(position, len(values) - 1)])
