"""Figures for people: one image explained from samples to persistence image, and a sheet of many.

Figures are made without pyplot, so nothing opens a window, needs a display or stays in memory:
``figure.savefig("sheet.png")`` writes one.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Polygon
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology.diagrams import Diagrams
from persistill.topology.homology.sublevel_1d import sublevel_persistence
from persistill.topology.persistence_image.config import PersistenceImageConfig
from persistill.topology.persistence_image.fields import Scan
from persistill.topology.persistence_image.from_diagrams import persistence_images
from persistill.topology.scans import SCANS

_INK, _PALE, _FAINT, _SEEN = "#1f2733", "#9aa3ad", "#e6e9ed", "#c8401a"
_COLORS = "magma"
_DPI = 160
_TILE = 1.3  # inches, one image of a contact sheet
_CHANNELS = ("red", "green", "blue")
_SAMPLES = 2500  # of a signal that can be told apart in one figure
_BARS = 300  # that can be told apart, one below the other


def explain(
    image: NDArray[Any] | Tensor, settings: PersistenceImageConfig, *, channel: int = 0, scan: Scan = "rows"
) -> Figure:
    """One channel of an image, its samples as a signal, its bars, its diagram and its persistence image.

    Bars that the window of the persistence image holds are drawn in color, the others in gray. Lengths and positions
    are in the units of the settings: levels of 8-bit images are divided by 255. Of a large image, the 2,500 samples
    in the middle and one bar in so many are shown, which the headings say; the diagram and the
    persistence image hold all of them.

    Args:
        image: (C, H, W), or (H, W) for a single channel; uint8, float32 or float64.
        settings: how the diagram becomes a persistence image.
        channel: which channel to follow.
        scan: how it is read.

    Returns:
        A figure, 12 by 6.2 inches.

    Raises:
        ValueError: if the image has another shape or no such channel, or holds a NaN or an infinity.
        TypeError: if its dtype is not supported.
    """
    pixels = _plain(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or not 0 <= channel < len(pixels):
        raise ValueError(f"image must be (C, H, W) with a channel {channel}, or (H, W); got {pixels.shape}.")
    if scan not in SCANS:
        raise ValueError(f"scan must be one of {', '.join(map(repr, SCANS))}; got {scan!r}.")
    signal = SCANS[scan](pixels[channel])
    diagrams = sublevel_persistence(signal)
    values = diagrams.values.astype(np.float64) / diagrams.scale
    lengths = values[:, 1] - values[:, 0]
    kept = lengths > settings.min_persistence
    values, lengths, places = values[kept], lengths[kept], diagrams.numpy().indices
    assert places is not None
    places = places[kept]
    seen = settings.contains(values[:, 0], lengths)
    persistence_image = persistence_images(Diagrams(values, np.array([0, len(values)])), settings)[0]

    with mpl.rc_context(_style()):
        figure = Figure(figsize=(12, 6.2), dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        grid = figure.add_gridspec(2, 4, height_ratios=(0.8, 1))
        share = lengths[seen].sum() / lengths.sum() if len(lengths) else 0.0
        figure.suptitle(
            f"{len(values):,} bars are longer than {settings.min_persistence:g}. The window of the persistence image "
            f"holds {seen.sum():,} of them (in color), {100 * share:.0f} % of the total persistence.",
            x=0.008,
            ha="left",
            fontsize=11,
        )
        _draw_signal(figure.add_subplot(grid[0, :]), _unit(signal), values, places[:, 0], seen, scan)
        _draw_image(figure.add_subplot(grid[1, 0]), pixels, channel)
        _draw_bars(figure.add_subplot(grid[1, 1]), values, seen)
        _draw_diagram(figure.add_subplot(grid[1, 2]), values, seen, settings)
        _draw_persistence_image(figure.add_subplot(grid[1, 3]), persistence_image, settings)
    return figure


def contact_sheet(
    images: NDArray[Any] | Tensor,
    persistence_images: NDArray[Any] | Tensor,
    *,
    scans: Sequence[Scan] = ("rows", "columns"),
    titles: Sequence[str] | None = None,
) -> Figure:
    """Images, one below the other, each beside its persistence images.

    Every persistence image is shown on its own scale, from its minimum to its maximum: black to white.

    Args:
        images: (B, C, H, W), uint8, or floats in [0, 1]; 3 channels are shown in color, others by the first.
        persistence_images: (B, len(scans) * C, rows, columns), as ``persistence_images`` gives them.
        scans: as they were given to ``persistence_images``, for the headings.
        titles: one for each image, shown at its left.

    Returns:
        A figure whose height grows with B.

    Raises:
        ValueError: if shapes or the number of titles do not fit, or if there is no image.
    """
    pixels, drawn = _plain(images), _plain(persistence_images)
    if pixels.ndim != 4 or drawn.ndim != 4 or len(pixels) != len(drawn) or len(pixels) == 0:
        raise ValueError(
            "images and persistence_images must both be (B, C, H, W) with the same B >= 1; got "
            f"{pixels.shape}, {drawn.shape}."
        )
    channels = pixels.shape[1]
    if drawn.shape[1] != len(scans) * channels:
        raise ValueError(
            f"persistence_images must have len(scans) * C = {len(scans) * channels} channels; got {drawn.shape[1]}."
        )
    if titles is not None and len(titles) != len(pixels):
        raise ValueError(f"titles must be one for each of {len(pixels)} images; got {len(titles)}.")
    names = _CHANNELS if channels == 3 else [f"channel {c}" for c in range(channels)]
    headings = [f"{scan}, {name}" if channels > 1 else scan for scan in scans for name in names]

    with mpl.rc_context(_style()):
        margin = 0.085 * max(map(len, titles)) if titles else 0.0
        size = (_TILE * (1 + len(headings)) + margin + 0.1, _TILE * len(pixels) + 0.3)
        narrow = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.0)
        figure = Figure(figsize=size, dpi=_DPI, layout=narrow)
        axes = figure.subplots(len(pixels), 1 + len(headings), squeeze=False)
        for b, line in enumerate(axes):
            line[0].imshow(_shown(pixels[b]), cmap="gray", vmin=0, vmax=1)
            if titles is not None:
                line[0].set_ylabel(titles[b], rotation=0, ha="right", va="center")
            for place, image in zip(line[1:], drawn[b], strict=True):
                place.imshow(image, cmap=_COLORS, interpolation="nearest", aspect="auto")
            for place in line:
                place.set_box_aspect(1)
                place.set(xticks=[], yticks=[])
                place.spines[:].set_visible(False)
        for place, heading in zip(axes[0], ["image", *headings], strict=True):
            place.set_title(heading, fontsize=8, loc="left")
    return figure


def _draw_signal(
    axes: Axes,
    signal: NDArray[Any],
    values: NDArray[Any],
    places: NDArray[np.int64],
    seen: NDArray[np.bool_],
    scan: str,
) -> None:
    start = max(0, (len(signal) - _SAMPLES) // 2)
    stop = min(len(signal), start + _SAMPLES)
    axes.plot(np.arange(start, stop), signal[start:stop], color=_PALE, linewidth=0.6)
    shown = (places >= start) & (places < stop)
    for mask, color in ((shown & ~seen, _INK), (shown & seen, _SEEN)):
        segments = [[(x, birth), (x, death)] for x, (birth, death) in zip(places[mask], values[mask], strict=True)]
        axes.add_collection(LineCollection(segments, colors=color, linewidths=1.2))
    axes.margins(x=0.005)
    part = f", {_SAMPLES:,} of its {len(signal):,} samples" if stop - start < len(signal) else ""
    axes.set_title(f"The channel read by {scan}{part}: every bar stands on the minimum that it is born at", loc="left")
    axes.set(xlabel="sample", ylabel="value")


def _draw_image(axes: Axes, pixels: NDArray[Any], channel: int) -> None:
    axes.imshow(_shown(pixels), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    name = _CHANNELS[channel] if len(pixels) == 3 else f"channel {channel}"
    axes.set_title("Image" if len(pixels) == 1 else f"Image ({name} is followed)", loc="left")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_bars(axes: Axes, values: NDArray[Any], seen: NDArray[np.bool_]) -> None:
    every = -(-len(values) // _BARS) or 1
    order = np.lexsort((values[:, 1], values[:, 0]))[::every]
    segments = [[(birth, k), (death, k)] for k, (birth, death) in enumerate(values[order])]
    colors = [_SEEN if inside else _INK for inside in seen[order]]
    width = min(2.0, 110 / max(len(segments), 1))
    axes.add_collection(LineCollection(segments, colors=colors, linewidths=width))
    axes.autoscale()
    axes.set_box_aspect(1)
    axes.set_title("Bars" if every == 1 else f"One bar in {every}, by birth", loc="left")
    axes.set(xlabel="value, from birth to death", yticks=[])
    axes.spines["left"].set_visible(False)


def _draw_diagram(axes: Axes, values: NDArray[Any], seen: NDArray[np.bool_], settings: PersistenceImageConfig) -> None:
    (left, right), (low, high) = settings.births, settings.persistences
    corners = [(left, left + low), (right, right + low), (right, right + high), (left, left + high)]
    axes.add_patch(Polygon(corners, facecolor=_SEEN, alpha=0.1, edgecolor="none", zorder=0))
    ends = [*values.ravel(), *settings.births]
    margin = 0.04 * (max(ends) - min(ends))
    span = (min(ends) - margin, max(ends) + margin)
    axes.plot(span, span, color=_PALE, linewidth=0.8)
    axes.set(xlim=span, ylim=span)
    crowded = min(1.0, (2 * _BARS / max(len(values), 1)) ** 0.5)
    for mask, color in ((~seen, _INK), (seen, _SEEN)):
        axes.scatter(
            values[mask, 0], values[mask, 1], s=max(2, 8 * crowded), color=color, linewidths=0, alpha=0.7 * crowded
        )
    axes.set_box_aspect(1)
    axes.set_title("Diagram, and the window", loc="left")
    axes.set(xlabel="birth", ylabel="death")


def _draw_persistence_image(axes: Axes, image: NDArray[Any], settings: PersistenceImageConfig) -> None:
    extent = (*settings.births, *settings.persistences)
    axes.imshow(image, cmap=_COLORS, extent=extent, aspect="auto", interpolation="nearest")
    axes.set_box_aspect(1)
    rows, columns = settings.pixels
    axes.set_title(f"Persistence image, {rows} x {columns}", loc="left")
    axes.set(xlabel="birth", ylabel="persistence")


def _shown(pixels: NDArray[Any]) -> NDArray[Any]:
    unit = np.clip(_unit(pixels), 0, 1)
    return unit.transpose(1, 2, 0) if len(unit) == 3 else unit[0]


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    """Levels of 8-bit images over 255, other values as they are."""
    return values / 255.0 if values.dtype == np.uint8 else values.astype(np.float64)


def _plain(array: NDArray[Any] | Tensor) -> NDArray[Any]:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array


def _style() -> Any:
    return {
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.edgecolor": _PALE,
        "axes.labelcolor": _INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
    }
