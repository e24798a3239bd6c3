"""The contact sheet that `persistill predict` draws."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from persistill.cli.sheet_parts import SIDE, Pixels, framed, quiet_save, shortened

_ACROSS = 8  # images beside each other
_TILE = (1.7, 2.35)  # inches that an image takes, with the words below it


def draw_predictions(path: Path, images: Sequence[Pixels], answers: Sequence[tuple[str, str, str]]) -> None:
    """Write images with what a student says of them.

    Args:
        path: a PNG, written whole or not at all.
        images: (3, H, W) uint8 each, of any sizes; at least one.
        answers: class, confidence and file name for each, as they are shown below it; names are shown shortened.
    """
    across = min(_ACROSS, len(images))
    down = -(-len(images) // across)
    figure = Figure(figsize=(_TILE[0] * across, _TILE[1] * down), dpi=160)
    # The upper part of each tile is the image.
    axes = figure.subplots(down, across, squeeze=False).ravel()
    figure.subplots_adjust(0.03 / across, 0.62 / _TILE[1] / down, 1 - 0.03 / across, 1 - 0.06 / down, 0.06, 0.5)
    side = max(max(one.shape[1:]) for one in images)
    for place, image, (name, confidence, file) in zip(axes, images, answers, strict=False):
        place.imshow(framed(image, side).transpose(1, 2, 0), interpolation="nearest" if side < SIDE else "antialiased")
        below: dict[str, Any] = {"transform": place.transAxes, "va": "top", "parse_math": False}  # "$" is a sign
        place.text(0, -0.04, shortened(name), **below, fontsize=9, fontweight="bold")
        place.text(0, -0.18, confidence, **below, fontsize=9)
        place.text(0, -0.31, shortened(file), **below, fontsize=6.5, color="#5b6470")
    for place in axes:
        place.set_axis_off()
    quiet_save(figure, path)
