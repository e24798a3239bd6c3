"""The contact sheet that `persistill predict` draws of a detector's answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from persistill.cli.sheet_parts import Pixels, quiet_save, shortened
from persistill.inference import FoundObject
from persistill.utils.class_colors import class_colors

_ACROSS = 4  # images beside each other
_TILE = (3.2, 3.55)  # inches that an image takes, with its name below it
_TITLE = 0.04  # height of a label, in sides of an image
_LUMINANCE, _LIGHT = (0.299, 0.587, 0.114), 0.6  # of red, green and blue; from where on black is easier to read


class Tile(NamedTuple):
    """An image on the sheet.

    Attributes:
        image: (3, h, w) uint8, scaled down.
        size: its width and height before, in which boxes are given.
        objects: that were found.
        name: of its file, shown shortened.
    """

    image: Pixels
    size: tuple[int, int]
    objects: Sequence[FoundObject]
    name: str


def draw_objects(path: Path, tiles: Sequence[Tile], classes: Sequence[str]) -> None:
    """Write images with boxes around the objects that were found, their classes and scores.

    Args:
        path: a PNG, written whole or not at all.
        tiles: at least one.
        classes: all that the detector knows; each has a color.
    """
    across = min(_ACROSS, len(tiles))
    down = -(-len(tiles) // across)
    figure = Figure(figsize=(_TILE[0] * across, _TILE[1] * down), dpi=120)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    figure.subplots_adjust(0.02 / across, 0.3 / _TILE[1] / down, 1 - 0.02 / across, 1 - 0.02 / down, 0.04, 0.12)
    colors = dict(zip(classes, (class_colors(len(classes)) / 255).tolist(), strict=True))
    for place, tile in zip(axes, tiles, strict=False):
        _draw(place, tile, colors)
    for place in axes:
        place.set_axis_off()
    quiet_save(figure, path)


def _draw(place: Axes, tile: Tile, colors: Mapping[str, Sequence[float]]) -> None:
    width, height = tile.size
    # Axes are in pixels of the original image, whose boxes these are.
    place.imshow(tile.image.transpose(1, 2, 0), extent=(0, width, height, 0), aspect="equal")
    longest = max(width, height)
    place.set_xlim((width - longest) / 2, (width + longest) / 2)
    place.set_ylim((height + longest) / 2, (height - longest) / 2)
    for one in reversed(tile.objects):  # the surest on top
        x1, y1, x2, y2 = one.box
        color: Any = colors[one.name]
        place.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=1.6))
        inside = "top" if y1 < _TITLE * longest else "bottom"  # where there is no room above it
        words = "black" if float(np.dot(color, _LUMINANCE)) > _LIGHT else "white"
        label = place.text(x1, y1, f"{shortened(one.name)} {one.score:.0%}", fontsize=6.5, color=words, va=inside)
        label.set_parse_math(False)  # "$" is a sign
        label.set_bbox({"facecolor": color, "edgecolor": "none", "pad": 0.8})
        label.set_clip_on(True)
    count = f"{len(tile.objects)} object{'s' * (len(tile.objects) != 1)}"
    below: dict[str, Any] = {"transform": place.transAxes, "va": "top", "parse_math": False, "fontsize": 7.5}
    place.text(0, -0.01, f"{shortened(tile.name)}, {count}", **below, color="#5b6470")
