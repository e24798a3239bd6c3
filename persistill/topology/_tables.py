"""Tables for 8-bit pictures: with 256 levels, every profile of every persistence image is known beforehand."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from persistill.topology import _kernels_images as kernels
from persistill.topology.persistence_image import PersistenceImages

# Entries of the float32 profiles below this are 0: the sums shorten, and no denormal number slows them down.
CUT = 1e-13


@dataclass(frozen=True)
class LevelTables:
    """Profiles of bars whose birth and length are whole levels of 1 / 255.

    Attributes:
        columns: (256, C') float32, profile of each birth, C' the columns padded to whole vectors.
        rows: (256, R') float32, weighted profile of each length from the largest persistence down, padded.
        groups: (groups, 2) int64, the first length and one past the last that reach a group of rows.
        exact_columns: (256, C) float64, profile of each birth, all digits.
        exact_rows: (256, R) float64, profile of each length without weight, from the largest persistence down.
        column_distances: (256,), squared distance of each birth from the window, in bandwidths.
        row_distances: (256,), of each length.
        weights: (256,), of each length.
        threshold: bars of so many levels are too short, and one more is enough.
        limit: the last birth with a profile above ``CUT``.
        longest: the last length with one.
    """

    columns: NDArray[np.float32]
    rows: NDArray[np.float32]
    groups: NDArray[np.int64]
    exact_columns: NDArray[np.float64]
    exact_rows: NDArray[np.float64]
    column_distances: NDArray[np.float64]
    row_distances: NDArray[np.float64]
    weights: NDArray[np.float64]
    threshold: int
    limit: int
    longest: int


@functools.lru_cache(maxsize=16)
def level_tables(settings: PersistenceImages, group: int, panel: int) -> LevelTables:
    """The tables for some settings; rows of the image are summed ``group``, columns ``panel`` at a time."""
    values = np.arange(256) / 255.0
    short = values <= settings.min_persistence
    weights = values.copy() if settings.weight == "linear" else np.ones(256)
    exact_columns, column_distances = _profiles(values, settings, "births")
    exact_rows, row_distances = _profiles(values, settings, "persistences")
    exact_rows = np.ascontiguousarray(exact_rows[:, ::-1])

    columns = _padded(exact_columns, panel)
    rows = _padded(np.where(short, 0.0, weights)[:, None] * exact_rows, group)
    reached: NDArray[np.bool_] = rows.reshape(256, -1, group).max(2) > 0
    first = np.where(reached.any(0), reached.argmax(0), 0)
    last = np.where(reached.any(0), 256 - reached[::-1].argmax(0), 0)
    return LevelTables(
        columns,
        rows,
        np.stack([first, last], 1),
        exact_columns,
        exact_rows,
        column_distances,
        row_distances,
        weights,
        int(short.sum()) - 1,
        _last(columns),
        _last(rows),
    )


def _profiles(
    values: NDArray[np.float64], settings: PersistenceImages, axis: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lower, upper = settings.edges("births" if axis == "births" else "persistences")
    profiles = np.zeros((256, len(lower)))
    distances = np.empty(256)
    for level, value in enumerate(values):
        kernels.profile(lower, upper, value, settings.bandwidth, profiles[level])
        distances[level] = kernels.outside(value, lower[0], upper[-1], settings.bandwidth)
    return profiles, distances


def _padded(profiles: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    padding = -profiles.shape[1] % width
    return np.pad(np.where(profiles < CUT, 0.0, profiles), ((0, 0), (0, padding))).astype(np.float32)


def _last(profiles: NDArray[np.float32]) -> int:
    reached = np.flatnonzero(profiles.any(1))
    return int(reached[-1]) if len(reached) else 0
