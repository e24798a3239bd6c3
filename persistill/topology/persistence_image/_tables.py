"""Tables of profiles: those of the 256 levels of 8-bit images, and those that any other point is near to."""

import functools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from persistill.topology._numba import persistence_image_exact as kernels
from persistill.topology._numba.llvm_vectors import WIDTH
from persistill.topology._numba.persistence_image_float32 import KernelSettings
from persistill.topology.persistence_image.config import PersistenceImageConfig

# Entries of the float32 profiles below this are 0: the sums shorten, and no denormal number slows them down.
CUT = 1e-13
# A persistence image whose maximum is below this share of what its points would give at the center of a box is rendered
# again with all digits: the tables for arbitrary points leave out less than 1e-7 of that.
FAINT = 1e-3
_REACH = 7.5  # bandwidths, beyond which less than CUT of a Gaussian lies
_MOST = 4096  # steps from box to box, and boxes in a profile; more would make tables of many megabytes


@dataclass(frozen=True)
class Uint8Tables:
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
        column_spans: (256, 2) int64, the first column that matters beside the largest entry of each exact profile,
            and one past the last.
        row_spans: (256, 2) int64, the rows that matter.
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
    column_spans: NDArray[np.int64]
    row_spans: NDArray[np.int64]


class ProfileTable(NamedTuple):
    """Profiles of points anywhere along an even grid: they depend only on where between two boxes a point lies.

    A point at ``value`` lies at ``u = (value - origin) * rate`` boxes, and its profile begins ``reach`` boxes before
    the whole part of u. With the rest of u in steps, rounded to a whole number q, the profile is
    ``table[q, 0] + d (table[q, 1] + d table[q, 2])``, d the rest of the rounding.

    Attributes:
        origin: where the first box begins, or the last one if boxes are counted downwards.
        rate: boxes for a unit of value, negative if they are counted downwards.
        steps: steps from one box to the next.
        reach: boxes before the point that its profile covers, and after it.
        table: (steps + 1, 3, length) float32, the length at least twice the reach and a whole number of vectors.
    """

    origin: float
    rate: float
    steps: int
    reach: int
    table: NDArray[np.float32]


@functools.lru_cache(maxsize=16)
def uint8_tables(config: PersistenceImageConfig, group: int, panel: int) -> Uint8Tables:
    """The tables for some settings; rows of the persistence image are summed ``group``, columns ``panel`` at a time."""
    values = np.arange(256) / 255.0
    short = values <= config.min_persistence
    weights = values.copy() if config.weight == "linear" else np.ones(256)
    exact_columns, column_distances = _profiles(values, config, "births")
    exact_rows, row_distances = _profiles(values, config, "persistences")
    exact_rows = np.ascontiguousarray(exact_rows[:, ::-1])

    columns = _padded(exact_columns, panel)
    rows = _padded(np.where(short, 0.0, weights)[:, None] * exact_rows, group)
    reached: NDArray[np.bool_] = rows.reshape(256, -1, group).max(2) > 0
    first = np.where(reached.any(0), reached.argmax(0), 0)
    last = np.where(reached.any(0), 256 - reached[::-1].argmax(0), 0)
    return Uint8Tables(
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
        _spans(exact_columns),
        _spans(exact_rows),
    )


@functools.lru_cache(maxsize=16)
def float_tables(config: PersistenceImageConfig) -> tuple[ProfileTable, ProfileTable, float]:
    """The tables along births, and along persistences from the largest down.

    Also the share of the sum of weights that the maximum of a persistence image must exceed for the tables to be exact
    enough: infinity for settings that would need tables of many megabytes.
    """
    across = _profile_table(*config.edges("births"), config.bandwidth, mirrored=False)
    down = _profile_table(*config.edges("persistences"), config.bandwidth, mirrored=True)
    if across is None or down is None:
        nothing = ProfileTable(0.0, 1.0, 1, 1, np.zeros((2, 3, WIDTH), np.float32))
        return nothing, nothing, math.inf
    return across, down, FAINT * float(across.table[:, 0].max()) * float(down.table[:, 0].max())


def kernel_settings(config: PersistenceImageConfig, full: float = 1.0) -> KernelSettings:
    """Settings as the compiled kernels want them; they multiply persistence images by ``full``."""
    across, down, limit = float_tables(config)
    if limit < math.inf and config.scaling != "max":
        # What the tables leave out is far below 1, but a logarithm may begin that low.
        limit = math.inf if config.scaling == "log" and config.scale < limit else -1.0
    return KernelSettings(
        float(config.min_persistence),
        config.weight == "linear",
        float(config.bandwidth),
        *config.edges("persistences"),
        *config.edges("births"),
        across,
        down,
        limit,
        kernels.SCALINGS[config.scaling],
        float(config.scale),
        full,
    )


def _profile_table(
    lower: NDArray[np.float64], upper: NDArray[np.float64], bandwidth: float, *, mirrored: bool
) -> ProfileTable | None:
    width = upper[0] - lower[0]
    pitch = (lower[-1] - lower[0]) / (len(lower) - 1) if len(lower) > 1 else width
    steps = max(8, math.ceil(64 * pitch / bandwidth))  # the cube of half a step is left out
    reach = math.ceil((_REACH * bandwidth + width) / pitch)
    if max(steps, reach) > _MOST:
        return None
    length = -(-(2 * reach + 2) // WIDTH) * WIDTH
    boxes = np.arange(length) - reach - np.arange(steps + 1)[:, None] / steps
    sign = -1.0 if mirrored else 1.0
    low, high = sign * boxes * pitch / bandwidth, (sign * boxes * pitch + width) / bandwidth
    above = low > 0  # there, the difference of upper tails keeps its digits
    value = _phi(np.where(above, -low, high)) - _phi(np.where(above, -high, low))
    bells = [np.exp(-0.5 * edge**2) / math.sqrt(2 * math.pi) for edge in (low, high)]
    step = -sign * pitch / bandwidth / steps  # how far a box moves, in bandwidths, when the point moves by a step
    slope = step * (bells[1] - bells[0])
    curvature = step**2 / 2 * (low * bells[0] - high * bells[1])
    series = np.where(value < CUT * value.max(), 0.0, np.stack([value, slope, curvature]))
    table = np.ascontiguousarray(series.swapaxes(0, 1), dtype=np.float32)
    return ProfileTable(float(lower[-1] if mirrored else lower[0]), sign / pitch, steps, reach, table)


def _phi(x: NDArray[np.float64]) -> NDArray[np.float64]:
    phi: NDArray[np.float64] = 0.5 * torch.erfc(torch.from_numpy(-x * math.sqrt(0.5))).numpy()
    return phi


def _profiles(
    values: NDArray[np.float64], config: PersistenceImageConfig, axis: Literal["births", "persistences"]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lower, upper = config.edges(axis)
    profiles = np.zeros((256, len(lower)))
    distances = np.empty(256)
    for level, value in enumerate(values):
        kernels.profile(lower, upper, value, config.bandwidth, profiles[level])
        distances[level] = kernels.outside(value, lower[0], upper[-1], config.bandwidth)
    return profiles, distances


def _padded(profiles: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    padding = -profiles.shape[1] % width
    return np.pad(np.where(profiles < CUT, 0.0, profiles), ((0, 0), (0, padding))).astype(np.float32)


def _last(profiles: NDArray[np.float32]) -> int:
    reached = np.flatnonzero(profiles.any(1))
    return int(reached[-1]) if len(reached) else 0


def _spans(profiles: NDArray[np.float64]) -> NDArray[np.int64]:
    matters = (profiles > 1e-12 * profiles.max(1, keepdims=True)) & (profiles > 0)
    first = matters.argmax(1)
    last = profiles.shape[1] - matters[:, ::-1].argmax(1)
    return np.stack([first, np.where(matters.any(1), last, first)], 1).astype(np.int64)
