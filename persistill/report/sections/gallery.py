"""Pictures, their persistence diagrams and their persistence images."""

import base64
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from persistill.errors import UserError
from persistill.report.comparison import Comparison, View
from persistill.report.figure import Section
from persistill.report.predictions import arrays

_SIDE = 100.0  # of a diagram, in units of its SVG
_MOST = 24
_COLORS = {3: ("red", "green", "blue"), 1: ("",)}


class Inlined(NamedTuple):
    """A picture in the page itself.

    Attributes:
        source: a data URI.
        text: what it shows, for who cannot see it.
        label: what stands below it; may be empty.
    """

    source: str
    text: str
    label: str


class Points(NamedTuple):
    """The points of a diagram that came from one scan.

    Attributes:
        scan: its name.
        path: the points as an SVG path of strokes without length, which round or square ends make visible.
        number: of points.
    """

    scan: str
    path: str
    number: int


class Entry(NamedTuple):
    """One picture of the gallery.

    Attributes:
        name: its class.
        picture: itself.
        points: its diagram, one entry a scan.
        images: its persistence images, one a channel of the view.
    """

    name: str
    picture: Inlined
    points: tuple[Points, ...]
    images: tuple[Inlined, ...]


def gallery(comparison: Comparison) -> Section | str:
    """For each view, the pictures that its run folder keeps to be looked at."""
    if not comparison.views:
        return "Gallery: no teacher of this comparison saw persistence images."
    shown = []
    for view in comparison.views:
        try:
            shown.append(_view(comparison, view))
        except (UserError, KeyError, ValueError) as error:
            return f"Gallery: the pictures of view {view.name!r} cannot be shown: {error}"
    return Section(
        name="gallery",
        title="What the topology teacher sees",
        text=(
            "A picture is read as a signal, and the signal is filled from its lowest value up. Each valley starts "
            "a component (its birth) which ends where it runs into an older one (its death): one point of the "
            "persistence diagram, the further above the diagonal the longer it lived. A persistence image is the "
            "diagram as a grid: birth grows to the right, persistence (death minus birth) upwards."
        ),
        template="gallery.html",
        content={"views": shown},
    )


def _view(comparison: Comparison, view: View) -> dict[str, Any]:
    found = arrays(view.folder / "gallery.npz")
    values, offsets, images = found["values"].astype(np.float64), found["offsets"], found["images"]
    pictures = found["pictures"][:_MOST]
    channels = images.shape[1]
    names = _channels(view.scans, channels)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    # Grey levels lie in [0, 1]; a narrower frame would make small lives look large.
    low, high = min(low, 0.0), max(high, 1.0)
    entries = []
    for number, picture in enumerate(pictures):
        name = comparison.class_name(int(found["target"][number]))
        first = offsets[number * channels : (number + 1) * channels + 1]
        diagrams = [values[first[j] : first[j + 1]] for j in range(channels)]
        entries.append(
            Entry(
                name=name,
                picture=_picture(picture, name),
                points=_points(diagrams, view.scans, low, high),
                images=tuple(_image(image, channel) for image, channel in zip(images[number], names, strict=True)),
            )
        )
    return {
        "name": view.name,
        "entries": entries,
        "low": f"{low:g}",
        "high": f"{high:g}",
        "scans": view.scans,
        "settings": _settings(view),
    }


def _points(
    diagrams: Sequence[NDArray[np.float64]], scans: Sequence[str], low: float, high: float
) -> tuple[Points, ...]:
    """Channels come scan by scan: all of the picture's channels by the first scan, then by the second."""
    names = scans if scans and len(diagrams) % len(scans) == 0 else ("all channels",)
    share = len(diagrams) // len(names)
    found = []
    for number, scan in enumerate(names):
        points = np.concatenate([*diagrams[number * share : (number + 1) * share], np.zeros((0, 2))])
        points = points[~np.isnan(points).any(axis=1)]
        births, deaths = (_SIDE * (np.clip(points, low, high) - low) / (high - low)).T
        # Half a unit is less than a point's size: what falls together there cannot be told apart.
        places = dict.fromkeys(zip(np.round(2 * births) / 2, _SIDE - np.round(2 * deaths) / 2, strict=True))
        path = "".join(f"M{x:g} {y:g}h0" for x, y in places)
        found.append(Points(scan, path, len(points)))
    return tuple(found)


def _picture(picture: NDArray[np.uint8], name: str) -> Inlined:
    channels, height, width = picture.shape
    if channels == 3:
        image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    else:  # one channel, or so many that no colours stand for them
        image = Image.fromarray(np.round(picture.mean(axis=0)).astype(np.uint8))
    return Inlined(_uri(image), f"Picture of the class {name}, {width} by {height} pixels", "")


def _image(image: NDArray[np.float32], channel: str) -> Inlined:
    levels = np.round(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    colored = Image.fromarray(levels)
    colored.putpalette((255 * colormaps["viridis"](range(256))[:, :3]).round().astype(np.uint8).tobytes())
    row, _ = np.unravel_index(int(levels.argmax()), levels.shape)
    height = len(levels)
    where = "high" if row < height / 3 else "medium" if row < 2 * height / 3 else "low"
    text = (
        f"Persistence image, {channel}: largest value {image.max():.2f} at {where} persistence, mean {image.mean():.3f}"
    )
    return Inlined(_uri(colored), text, channel)


def _channels(scans: Sequence[str], channels: int) -> list[str]:
    if not scans or channels % len(scans):
        return [f"channel {number + 1}" for number in range(channels)]
    share = channels // len(scans)
    colors = _COLORS.get(share, tuple(f"channel {number + 1}" for number in range(share)))
    return [f"{scan} {color}".strip() for scan in scans for color in colors]


def _settings(view: View) -> str:
    def text(value: object) -> str:
        if isinstance(value, list):
            return (" to " if all(isinstance(item, float) for item in value) else ", ").join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    named = ((name.replace("_", " "), value) for name, value in view.settings.items() if name != "is")
    return ", ".join(f"{name} {text(value)}" for name, value in named if value is not None)


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
