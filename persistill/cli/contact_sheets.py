"""The figures that `persistill topology` writes beside its results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from persistill.cli.sheet_parts import SIDE, framed, save, shortened
from persistill.extraction.outputs import Pixels, ScanConfig
from persistill.topology import PersistenceImageConfig, scan_persistence_images
from persistill.topology.persistence_image.fields import Scan
from persistill.topology.plotting import contact_sheet, explain

_COLUMNS = 12  # persistence images of an image on a sheet


def draw_sheet(
    path: Path,
    images: Sequence[Pixels],
    names: Sequence[str],
    settings: PersistenceImageConfig,
    config: ScanConfig,
) -> None:
    """Write images, each beside its persistence images.

    Args:
        path: a PNG, written whole or not at all.
        images: (C, H, W) each, of any sizes; at least one.
        names: one for each, shown shortened.
        settings: of the persistence images.
        config: how images are read. Of many channels only the first are shown.
    """
    channels = min(config.channels, max(1, _COLUMNS // len(config.scans)))
    drawn = [
        scan_persistence_images(image[None, :channels], settings, scans=config.scans, threads=config.threads)[0]
        for image in images
    ]
    shown = [to_be_seen(image[:channels]) for image in images]
    side = max(max(one.shape[1:]) for one in shown)
    sheet = contact_sheet(
        np.stack([framed(one, side) for one in shown]),
        np.stack(drawn),
        scans=config.scans,
        titles=[shortened(name) for name in names],
    )
    save(sheet, path)


def draw_explanation(path: Path, image: Pixels, settings: PersistenceImageConfig, scan: Scan, channel: int) -> None:
    """Write an image with its signal, bars, diagram and persistence image.

    Args:
        path: a PNG, written whole or not at all.
        image: (C, H, W).
        settings: of the persistence image.
        scan: how it is read.
        channel: which channel is followed.
    """
    save(explain(image, settings, channel=channel, scan=scan), path)


def to_be_seen(image: Pixels) -> Pixels:
    """(C, H, W) in 8 bits, at most ``SIDE`` pixels long; values beyond [0, 1] are brought into it by their range."""
    if image.dtype != np.uint8:
        low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
        image = np.round((image - low) / (high - low) * 255).astype(np.uint8)
    longest = max(image.shape[1:])
    if longest <= SIDE:
        return image
    size = [max(1, round(side * SIDE / longest)) for side in image.shape[:0:-1]]
    return np.stack([np.asarray(Image.fromarray(channel).resize((size[0], size[1]))) for channel in image])
