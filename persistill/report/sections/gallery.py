"""Images, what views show of them, and the persistence diagrams behind these."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Comparison, View
from persistill.report.data_uri import Inlined, channel_names, inlined_channel, inlined_image
from persistill.report.figure import Section
from persistill.report.predictions import arrays

_SIDE = 100.0  # of a diagram, in units of its SVG
_MOST = 24


class Points(NamedTuple):
    """The points of the diagrams of one group of channels.

    Attributes:
        group: its name.
        path: the points as an SVG path of strokes without length, which round or square ends make visible.
        number: of points.
    """

    group: str
    path: str
    number: int


class Entry(NamedTuple):
    """One image of the gallery.

    Attributes:
        name: its class, or its number where images have none.
        image: itself.
        points: its diagram, one entry a group of channels; none for a view without diagrams.
        channels: of the view.
    """

    name: str
    image: Inlined
    points: tuple[Points, ...]
    channels: tuple[Inlined, ...]


def gallery(comparison: Comparison) -> Section | str:
    """For each view, the images that its run folder keeps to be looked at."""
    if not comparison.views:
        return "Gallery: no teacher of this comparison saw anything but images."
    shown = []
    for view in comparison.views:
        try:
            shown.append(_view(comparison, view))
        except (UserError, KeyError, ValueError) as error:
            return f"Gallery: the images of view {view.name!r} cannot be shown: {error}"
    return Section(
        name="gallery",
        title="What the views show",
        text=(
            "Some validation images, one of each class where images have one, and what each view shows of them, with "
            "the persistence diagram behind it where there is one: a point for each component or hole, the further "
            "above the diagonal the longer it lived."
        ),
        template="gallery.html",
        content={"views": shown},
    )


def _view(comparison: Comparison, view: View) -> dict[str, Any]:
    found = arrays(view.folder / "gallery.npz")
    values = found["values"].astype(np.float64) if "values" in found else np.zeros((0, 2))
    computed = found["view"]
    images = found["images"][:_MOST]
    channels = computed.shape[1]
    names = channel_names(view.groups, channels)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    # Gray levels lie in [0, 1]; a narrower frame would make small lives look large.
    low, high = min(low, 0.0), max(high, 1.0)
    entries = []
    for number, image in enumerate(images):
        name = comparison.class_name(int(found["target"][number])) if "target" in found else f"image {number + 1}"
        diagrams = []
        if "offsets" in found:
            first = found["offsets"][number * channels : (number + 1) * channels + 1]
            diagrams = [values[first[j] : first[j + 1]] for j in range(channels)]
        entries.append(
            Entry(
                name=name,
                image=inlined_image(image, name),
                points=_points(diagrams, view.groups, low, high),
                channels=tuple(
                    inlined_channel(channel, label) for channel, label in zip(computed[number], names, strict=True)
                ),
            )
        )
    return {
        "name": view.name,
        "entries": entries,
        "low": f"{low:g}",
        "high": f"{high:g}",
        "groups": view.groups if "offsets" in found else (),
        "explanation": view.explanation,
        "settings": _settings(view),
    }


def _points(
    diagrams: Sequence[NDArray[np.float64]], groups: Sequence[str], low: float, high: float
) -> tuple[Points, ...]:
    """Channels come group by group: all of the image's channels in the first group, then in the second."""
    if not diagrams:
        return ()
    names = groups if groups and len(diagrams) % len(groups) == 0 else ("all channels",)
    share = len(diagrams) // len(names)
    found = []
    for number, group in enumerate(names):
        points = np.concatenate([*diagrams[number * share : (number + 1) * share], np.zeros((0, 2))])
        points = points[~np.isnan(points).any(axis=1)]
        births, deaths = (_SIDE * (np.clip(points, low, high) - low) / (high - low)).T
        # Half a unit is less than a point's size: what falls together there cannot be told apart.
        places = dict.fromkeys(zip(np.round(2 * births) / 2, _SIDE - np.round(2 * deaths) / 2, strict=True))
        path = "".join(f"M{x:g} {y:g}h0" for x, y in places)
        found.append(Points(group, path, len(points)))
    return tuple(found)


def _settings(view: View) -> str:
    def text(value: object) -> str:
        if isinstance(value, list):
            return (" to " if all(isinstance(item, float) for item in value) else ", ").join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    named = ((name.replace("_", " "), value) for name, value in view.settings.items() if name != "is")
    return ", ".join(f"{name} {text(value)}" for name, value in named if value is not None)
