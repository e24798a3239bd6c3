"""Images, their persistence diagrams and their persistence images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Comparison, View
from persistill.report.data_uri import Inlined, channel_names, inlined_image, inlined_persistence_image
from persistill.report.figure import Section
from persistill.report.predictions import arrays

_SIDE = 100.0  # of a diagram, in units of its SVG
_MOST = 24


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
    """One image of the gallery.

    Attributes:
        name: its class.
        image: itself.
        points: its diagram, one entry a scan.
        persistence_images: its persistence images, one a channel of the view.
    """

    name: str
    image: Inlined
    points: tuple[Points, ...]
    persistence_images: tuple[Inlined, ...]


def gallery(comparison: Comparison) -> Section | str:
    """For each view, the images that its run folder keeps to be looked at."""
    if not comparison.views:
        return "Gallery: no teacher of this comparison saw persistence images."
    shown = []
    for view in comparison.views:
        try:
            shown.append(_view(comparison, view))
        except (UserError, KeyError, ValueError) as error:
            return f"Gallery: the images of view {view.name!r} cannot be shown: {error}"
    return Section(
        name="gallery",
        title="What the topology teacher sees",
        text=(
            "An image is read as a signal, and the signal is filled from its lowest value up. Each valley starts "
            "a component (its birth) which ends where it runs into an older one (its death): one point of the "
            "persistence diagram, the further above the diagonal the longer it lived. A persistence image is the "
            "diagram as a grid: birth grows to the right, persistence (death minus birth) upwards."
        ),
        template="gallery.html",
        content={"views": shown},
    )


def _view(comparison: Comparison, view: View) -> dict[str, Any]:
    found = arrays(view.folder / "gallery.npz")
    values, offsets, rasters = found["values"].astype(np.float64), found["offsets"], found["persistence_images"]
    images = found["images"][:_MOST]
    channels = rasters.shape[1]
    names = channel_names(view.scans, channels)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    # Grey levels lie in [0, 1]; a narrower frame would make small lives look large.
    low, high = min(low, 0.0), max(high, 1.0)
    entries = []
    for number, image in enumerate(images):
        name = comparison.class_name(int(found["target"][number]))
        first = offsets[number * channels : (number + 1) * channels + 1]
        diagrams = [values[first[j] : first[j + 1]] for j in range(channels)]
        entries.append(
            Entry(
                name=name,
                image=inlined_image(image, name),
                points=_points(diagrams, view.scans, low, high),
                persistence_images=tuple(
                    inlined_persistence_image(raster, channel)
                    for raster, channel in zip(rasters[number], names, strict=True)
                ),
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
    """Channels come scan by scan: all of the image's channels by the first scan, then by the second."""
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


def _settings(view: View) -> str:
    def text(value: object) -> str:
        if isinstance(value, list):
            return (" to " if all(isinstance(item, float) for item in value) else ", ").join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    named = ((name.replace("_", " "), value) for name, value in view.settings.items() if name != "is")
    return ", ".join(f"{name} {text(value)}" for name, value in named if value is not None)
