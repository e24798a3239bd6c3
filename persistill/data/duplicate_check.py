"""What becomes of images that stand in a data set twice."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from persistill.config import Data
from persistill.data.dataset import ImageDataset
from persistill.data.duplicates import find_duplicates
from persistill.data.near_duplicates import near_duplicates
from persistill.data.pixel_hashes import Hashes, hash_images, stored_hashes
from persistill.data.sources.base import IntArray
from persistill.errors import UserError
from persistill.utils.progress import Progress, Silent
from persistill.utils.units import first_few

_NOT_LOOKED = (
    "Duplicates were not looked for, because these images are decoded while networks are trained: "
    "data.duplicates=refuse or drop decodes each once to look."
)


class Checked(NamedTuple):
    """What was found.

    Attributes:
        notes: for the user, a sentence each.
        kept: split -> (n,) int64 positions of the images that stay, for splits of which some do not.
    """

    notes: tuple[str, ...]
    kept: Mapping[str, IntArray]


def look_for_duplicates(
    images: Mapping[str, ImageDataset],
    name_of: Callable[[str, int], str],
    settings: Data,
    progress: Progress,
    *,
    in_memory: bool,
) -> Checked:
    """Look for images that are equal pixel for pixel, and that look the same.

    Images that are streamed are looked at only where ``settings.duplicates`` is "drop" or "refuse", for each has to be
    decoded; their hashes are kept. They are not compared by their looks.

    Args:
        images: "train", "validation" and "test" -> images.
        name_of: split and position -> what to call an image.
        settings: what to do.
        progress: told how many images were hashed.
        in_memory: whether images are decoded.

    Raises:
        UserError: if some are in two splits or have two targets, and ``settings.duplicates`` is "refuse".
    """
    if not in_memory and settings.duplicates == "warn":
        return Checked((_NOT_LOOKED,), {})
    # What is in memory is hashed faster than a bar can be drawn.
    hashes = hash_images(images, Silent()) if in_memory else stored_hashes(images, progress)
    found = find_duplicates(hashes, name_of)
    if found.leaks and settings.duplicates == "refuse":
        raise UserError(
            f"{settings.where}: {' '.join(found.leaks)} Mend the data, or have such training images taken out: "
            "--set data.duplicates=drop"
        )
    notes = [*found.leaks, *found.remarks]
    kept: dict[str, IntArray] = {}
    if settings.duplicates == "drop":
        kept = {
            name: np.setdiff1d(np.arange(len(images[name])), dropped)
            for name, dropped in found.dropped.items()
            if len(dropped)
        }
        taken = [f"{len(found.dropped[name]):,} of the {name} split" for name in kept]
        if taken:
            removed = f"Duplicates taken out: {' and '.join(taken)}."
            notes = [" ".join((removed, "Without data.duplicates=drop:", *found.leaks)), *found.remarks]
    elif found.leaks:
        notes.append(
            "--set data.duplicates=drop takes such training images out; refuse stops before anything is trained."
        )
    return Checked((*notes, *(_alike(images, hashes, name_of, kept) if in_memory else ())), kept)


def _alike(
    images: Mapping[str, ImageDataset],
    hashes: Hashes,
    name_of: Callable[[str, int], str],
    kept: Mapping[str, IntArray],
) -> list[str]:
    """A sentence for each split with images that look like training images and are not equal to them."""
    notes = []
    everyone = np.arange(len(images["train"]))
    staying = set(kept.get("train", everyone).tolist())
    training = {digest.tobytes() for digest in hashes.pixels["train"]}
    for split in ("test", "validation"):
        pairs = [
            f"{name_of(split, row)} ~ {name_of('train', other)}"
            for row, other in near_duplicates(images[split], images["train"])
            if other in staying and hashes.pixels[split][row].tobytes() not in training
        ]
        if pairs:
            notes.append(
                f"A hint: {len(pairs):,} of {len(images[split]):,} {split} images look like training images: "
                f"{first_few(pairs)}."
            )
    return notes
