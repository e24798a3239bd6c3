"""What the explorer shows of an image at a level: components, bars, persistence image. Functions without state."""

import base64
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from persistill.dashboard.explorer_fields import CELLS, SETTINGS
from persistill.dashboard.images import Pixels, from_json
from persistill.errors import UserError, unknown
from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    columns,
    cubical_persistence,
    persistence_images,
    rows,
    sublevel_persistence,
)

Scan = Literal["rows", "columns", "image"]
CHANNELS = ("luminance", "red", "green", "blue")
TOP = 255


class Bars(NamedTuple):
    """The components of all sublevel sets, the longest-lived first.

    Attributes:
        values: (P, 2) births and deaths, levels from 0 to 255; the first component never dies: its death is inf.
        pixels: (P,) the pixel at which each is born, row * W + column.
    """

    values: NDArray[np.float64]
    pixels: NDArray[np.int64]


def plane(pixels: Pixels, channel: str) -> Pixels:
    """One channel (H, W) of an image (C, H, W): "luminance" (ITU-R BT.601), "red", "green" or "blue".

    A gray image has its luminance alone.

    Raises:
        UserError: if the image has no such channel.
    """
    known = CHANNELS if len(pixels) == 3 else CHANNELS[:1]
    if channel not in known:
        raise unknown("channel of this image", channel, known)
    if len(pixels) == 3 and channel == "luminance":
        red, green, blue = pixels.astype(np.uint32)
        # 0.299, 0.587 and 0.114 in 1/65536, rounded as Pillow does
        found: Pixels = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)
    else:
        found = pixels[max(0, CHANNELS.index(channel) - 1)]
    return found


def bars(values: Pixels, scan: Scan) -> Bars:
    """The bars of one channel.

    Args:
        values: (H, W).
        scan: "rows" and "columns" read the channel as one signal, as the TGD paper does; "image" takes it as it is:
            pixels are squares, which touch at sides and corners.
    """
    if scan == "image":
        (found,) = cubical_persistence(values, dimensions=(0,), essential=True, threads=1)
    else:
        found = sublevel_persistence((rows if scan == "rows" else columns)(values), essential=True, threads=1)
    assert found.indices is not None
    levels, born = found.values.astype(np.float64), found.indices[:, 0].astype(np.int64)
    if scan == "columns":
        born = _to_rows(born, values.shape)
    order = np.argsort(levels[:, 0] - levels[:, 1], kind="stable")
    return Bars(levels[order], born[order])


def components(values: Pixels, level: int, scan: Scan) -> NDArray[np.int64]:
    """The connected components of {x <= level}.

    Args:
        values: (H, W).
        level: 0 to 255.
        scan: as in ``bars``.

    Returns:
        (H, W): at each pixel the pixel at which its component was born, the eldest of equals; -1 above the level.
    """
    if scan == "columns":
        turned = components(np.ascontiguousarray(values.T), level, "rows").T
        return np.where(turned < 0, -1, _to_rows(turned, values.shape))
    flat = values.reshape(-1)
    # Pixels are named by the order in which they enter: the least name in a component is then its birth.
    order = np.argsort(flat, kind="stable")
    names = np.empty(flat.size, np.int64)
    names[order] = np.arange(flat.size)
    first, second = _neighbors(values.shape, scan)
    both = (flat[first] <= level) & (flat[second] <= level)
    eldest = order[_least(flat.size, names[first[both]], names[second[both]])[names]]
    return np.where(flat <= level, eldest, -1).reshape(values.shape)


def explore(request: object) -> dict[str, Any]:
    """Answer one question of the explorer page.

    Args:
        request: an object with ``image`` (as ``images.to_json`` writes it), ``channel``, ``scan``, ``level`` (0 to
            255), and the settings of the persistence image: ``cells`` (one side), ``bandwidth``, ``births``,
            ``persistences``, ``min_persistence``, ``weight``.

    Returns:
        Plain JSON: ``bars``, each [birth, death or None, pixel]; ``labels``, the components as little-endian 16-bit
        numbers in base64, 0 for none and else 1 + the position in ``bars``; how many bars are ``unborn``, ``alive``
        and ``ended``; ``persistence_image``, of those that ended, 8-bit in base64, in shares of ``peak``, the
        largest intensity when all have ended; ``cells``, the side of the image; ``drawn``, how many finite bars are
        longer than ``min_persistence``.

    Raises:
        UserError: if a field is missing or wrong.
    """
    if not isinstance(request, Mapping):
        raise UserError("the request must be a JSON object.")
    if request.get("scan") not in get_args(Scan):
        raise unknown("scan", str(request.get("scan")), get_args(Scan))
    scan: Scan = request["scan"]
    level = _whole("level", request.get("level"), 0, TOP)
    cells = _whole("cells", request.get("cells"), *CELLS)
    values = plane(from_json(request.get("image")), str(request.get("channel")))
    settings = _settings(request, cells)

    found = bars(values, scan)
    numbers = np.zeros(values.size, np.uint16)
    numbers[found.pixels] = np.arange(1, len(found.pixels) + 1)
    where = components(values, level, scan)
    labels = np.where(where < 0, 0, numbers[where])
    ended = found.values[:, 1] <= level
    unborn = found.values[:, 0] > level

    finite = np.isfinite(found.values[:, 1])
    both = Diagrams.from_list([found.values[ended] / TOP, found.values[finite] / TOP])
    now, whole = persistence_images(both, settings, threads=1).astype(np.float64)
    peak = float(whole.max())
    shares = np.clip(np.round(TOP * now / peak), 0, TOP) if peak > 0 else np.zeros_like(now)
    lengths = np.diff(found.values[finite], axis=1)[:, 0] / TOP
    return {
        "height": values.shape[0],
        "width": values.shape[1],
        "level": level,
        "bars": [
            [int(birth), int(death) if np.isfinite(death) else None, int(pixel)]
            for (birth, death), pixel in zip(found.values, found.pixels, strict=True)
        ],
        "labels": base64.b64encode(labels.astype("<u2").tobytes()).decode(),
        "unborn": int(unborn.sum()),
        "alive": int((~unborn & ~ended).sum()),
        "ended": int(ended.sum()),
        "persistence_image": base64.b64encode(shares.astype(np.uint8).tobytes()).decode(),
        "cells": cells,
        "peak": peak,
        "drawn": int((lengths > settings.min_persistence).sum()),
    }


def _settings(request: Mapping[str, Any], cells: int) -> PersistenceImageConfig:
    given = {name: request.get(name) for name in SETTINGS}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise UserError(f"the request lacks {', '.join(missing)}.")
    try:
        return PersistenceImageConfig.from_json(
            {"pixels": [cells, cells], "grid": "tiled", "scaling": "none", **given}  # shares are taken of all bars
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(str(error).replace("PersistenceImageConfig.", "").replace("_", " ")) from None


def _whole(name: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{name} must be a whole number from {low} to {high}; got {value!r}.")
    return value


def _to_rows(places: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Positions in an image read column by column -> positions in it read row by row."""
    column, row = np.divmod(places, shape[0])
    return row * shape[1] + column


def _neighbors(shape: tuple[int, ...], scan: Scan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of neighbors: along the signal, or at sides and corners."""
    places = np.arange(shape[0] * shape[1])
    if scan == "rows":
        return places[:-1], places[1:]
    grid = places.reshape(shape)
    pairs = (
        (grid[:, :-1], grid[:, 1:]),
        (grid[:-1], grid[1:]),
        (grid[:-1, :-1], grid[1:, 1:]),
        (grid[:-1, 1:], grid[1:, :-1]),
    )
    first, second = zip(*((a.reshape(-1), b.reshape(-1)) for a, b in pairs), strict=True)
    return np.concatenate(first), np.concatenate(second)


def _least(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least name in the component of each of the names 0 to count - 1, of which these pairs are joined.

    Each round joins every root to its lowest neighbor and shortens all paths; at least half of the roots that have
    neighbors go, so there are few rounds.
    """
    least = np.arange(count)
    while True:
        one, other = least[first], least[second]
        if np.array_equal(one, other):
            return least
        np.minimum.at(least, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := least[least], least):
            least = shorter
