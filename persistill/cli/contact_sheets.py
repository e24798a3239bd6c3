"""The figures that `persistill topology` and `persistill predict` write beside their results."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from persistill.cli.topology_outputs import Pixels, Scanned
from persistill.topology import PersistenceImages, persistence_images
from persistill.topology.persistence_image.from_images import Scan
from persistill.topology.plotting import contact_sheet, explain
from persistill.utils.atomic_io import atomic

_SIDE = 256  # pixels of an image on a sheet
_COLUMNS = 12  # persistence images of an image on a sheet
_TITLE = 22  # characters
_ACROSS = 8  # answered images beside each other
_TILE = (1.7, 2.35)  # inches that an answered image takes, with the words below it


def draw_sheet(
    path: Path, images: Sequence[Pixels], names: Sequence[str], settings: PersistenceImages, scanned: Scanned
) -> None:
    """Write images, each beside its persistence images.

    Args:
        path: a PNG, written whole or not at all.
        images: (C, H, W) each, of any sizes; at least one.
        names: one for each, shown shortened.
        settings: of the persistence images.
        scanned: how images are read. Of many channels only the first are shown.
    """
    channels = min(scanned.channels, max(1, _COLUMNS // len(scanned.scans)))
    drawn = [
        persistence_images(image[None, :channels], settings, scans=scanned.scans, threads=scanned.threads)[0]
        for image in images
    ]
    shown = [to_be_seen(image[:channels]) for image in images]
    side = max(max(one.shape[1:]) for one in shown)
    sheet = contact_sheet(
        np.stack([_framed(one, side) for one in shown]),
        np.stack(drawn),
        scans=scanned.scans,
        titles=[shortened(name) for name in names],
    )
    _save(sheet, path)


def draw_explanation(path: Path, image: Pixels, settings: PersistenceImages, scan: Scan, channel: int) -> None:
    """Write an image with its signal, bars, diagram and persistence image.

    Args:
        path: a PNG, written whole or not at all.
        image: (C, H, W).
        settings: of the persistence image.
        scan: how it is read.
        channel: which channel is followed.
    """
    _save(explain(image, settings, channel=channel, scan=scan), path)


def draw_answers(path: Path, images: Sequence[Pixels], answers: Sequence[tuple[str, str, str]]) -> None:
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
        place.imshow(
            _framed(image, side).transpose(1, 2, 0), interpolation="nearest" if side < _SIDE else "antialiased"
        )
        below: dict[str, Any] = {"transform": place.transAxes, "va": "top", "parse_math": False}  # "$" is a sign
        place.text(0, -0.04, shortened(name), **below, fontsize=9, fontweight="bold")
        place.text(0, -0.18, confidence, **below, fontsize=9)
        place.text(0, -0.31, shortened(file), **below, fontsize=6.5, color="#5b6470")
    for place in axes:
        place.set_axis_off()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # signs that the font lacks are drawn as boxes
        _save(figure, path)


def to_be_seen(image: Pixels) -> Pixels:
    """(C, H, W) in 8 bits, at most ``_SIDE`` pixels long; values beyond [0, 1] are brought into it by their range."""
    if image.dtype != np.uint8:
        low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
        image = np.round((image - low) / (high - low) * 255).astype(np.uint8)
    longest = max(image.shape[1:])
    if longest <= _SIDE:
        return image
    size = [max(1, round(side * _SIDE / longest)) for side in image.shape[:0:-1]]
    return np.stack([np.asarray(Image.fromarray(channel).resize((size[0], size[1]))) for channel in image])


def shortened(name: str) -> str:
    """The end of a name, in which images differ."""
    return name if len(name) <= _TITLE else f"…{name[1 - _TITLE :]}"


def _framed(image: Pixels, side: int) -> Pixels:
    """The image in the middle of a white square, as large as fits."""
    scale = side / max(image.shape[1:])
    height, width = (max(1, round(length * scale)) for length in image.shape[1:])
    if scale != 1:
        method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC  # small ones keep their pixels
        resized = [np.asarray(Image.fromarray(channel).resize((width, height), method)) for channel in image]
        image = np.stack(resized)
    framed = np.full((len(image), side, side), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    framed[:, top : top + height, left : left + width] = image
    return framed


def _save(figure: Figure, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")
