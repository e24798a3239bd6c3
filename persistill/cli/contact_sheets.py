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

_SIDE = 256  # pixels of a picture on a sheet
_COLUMNS = 12  # persistence images of a picture on a sheet
_TITLE = 22  # characters
_ACROSS = 8  # answered pictures beside each other
_TILE = (1.7, 2.35)  # inches that an answered picture takes, with the words below it


def draw_sheet(
    path: Path, pictures: Sequence[Pixels], names: Sequence[str], settings: PersistenceImages, scanned: Scanned
) -> None:
    """Write pictures, each beside its persistence images.

    Args:
        path: a PNG, written whole or not at all.
        pictures: (C, H, W) each, of any sizes; at least one.
        names: one for each, shown shortened.
        settings: of the persistence images.
        scanned: how pictures are read. Of many channels only the first are shown.
    """
    channels = min(scanned.channels, max(1, _COLUMNS // len(scanned.scans)))
    drawn = [
        persistence_images(picture[None, :channels], settings, scans=scanned.scans, threads=scanned.threads)[0]
        for picture in pictures
    ]
    shown = [to_be_seen(picture[:channels]) for picture in pictures]
    side = max(max(one.shape[1:]) for one in shown)
    sheet = contact_sheet(
        np.stack([_framed(one, side) for one in shown]),
        np.stack(drawn),
        scans=scanned.scans,
        titles=[shortened(name) for name in names],
    )
    _save(sheet, path)


def draw_explanation(path: Path, picture: Pixels, settings: PersistenceImages, scan: Scan, channel: int) -> None:
    """Write a picture with its signal, bars, diagram and persistence image.

    Args:
        path: a PNG, written whole or not at all.
        picture: (C, H, W).
        settings: of the persistence image.
        scan: how it is read.
        channel: which channel is followed.
    """
    _save(explain(picture, settings, channel=channel, scan=scan), path)


def draw_answers(path: Path, pictures: Sequence[Pixels], answers: Sequence[tuple[str, str, str]]) -> None:
    """Write pictures with what a student says of them.

    Args:
        path: a PNG, written whole or not at all.
        pictures: (3, H, W) uint8 each, of any sizes; at least one.
        answers: class, confidence and file name for each, as they are shown below it; names are shown shortened.
    """
    across = min(_ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    figure = Figure(figsize=(_TILE[0] * across, _TILE[1] * down), dpi=160)
    # The upper part of each tile is the picture.
    axes = figure.subplots(down, across, squeeze=False).ravel()
    figure.subplots_adjust(0.03 / across, 0.62 / _TILE[1] / down, 1 - 0.03 / across, 1 - 0.06 / down, 0.06, 0.5)
    side = max(max(one.shape[1:]) for one in pictures)
    for place, picture, (name, confidence, file) in zip(axes, pictures, answers, strict=False):
        place.imshow(
            _framed(picture, side).transpose(1, 2, 0), interpolation="nearest" if side < _SIDE else "antialiased"
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


def to_be_seen(picture: Pixels) -> Pixels:
    """(C, H, W) in 8 bits, at most ``_SIDE`` pixels long; values beyond [0, 1] are brought into it by their range."""
    if picture.dtype != np.uint8:
        low, high = min(0.0, float(picture.min())), max(1.0, float(picture.max()))
        picture = np.round((picture - low) / (high - low) * 255).astype(np.uint8)
    longest = max(picture.shape[1:])
    if longest <= _SIDE:
        return picture
    size = [max(1, round(side * _SIDE / longest)) for side in picture.shape[:0:-1]]
    return np.stack([np.asarray(Image.fromarray(channel).resize((size[0], size[1]))) for channel in picture])


def shortened(name: str) -> str:
    """The end of a name, in which pictures differ."""
    return name if len(name) <= _TITLE else f"…{name[1 - _TITLE :]}"


def _framed(picture: Pixels, side: int) -> Pixels:
    """The picture in the middle of a white square, as large as fits."""
    scale = side / max(picture.shape[1:])
    height, width = (max(1, round(length * scale)) for length in picture.shape[1:])
    if scale != 1:
        method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC  # small ones keep their pixels
        resized = [np.asarray(Image.fromarray(channel).resize((width, height), method)) for channel in picture]
        picture = np.stack(resized)
    framed = np.full((len(picture), side, side), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    framed[:, top : top + height, left : left + width] = picture
    return framed


def _save(figure: Figure, path: Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")
