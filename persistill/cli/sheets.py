"""The figures that `persistill topology` writes beside its results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from persistill.cli.kinds import Pixels, Scanned
from persistill.runs import atomic
from persistill.topology import PersistenceImages, persistence_images
from persistill.topology.figures import contact_sheet, explain
from persistill.topology.pictures import Scan

_SIDE = 256  # pixels of a picture on a sheet
_COLUMNS = 12  # persistence images of a picture on a sheet
_TITLE = 22  # characters


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
