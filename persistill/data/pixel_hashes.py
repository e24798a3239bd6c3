"""Hashes of decoded images, by which equal ones are found."""

import contextlib
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from persistill.data.dataset import ImageDataset
from persistill.structures import IGNORE_INDEX
from persistill.utils.atomic_io import atomic
from persistill.utils.progress import Progress

_CHUNK = 64  # images

Digests = npt.NDArray[np.void]


class Hashes(NamedTuple):
    """128 bits of each image and of its target.

    Attributes:
        pixels: split -> (N,).
        targets: split -> (N,).
    """

    pixels: Mapping[str, Digests]
    targets: Mapping[str, Digests]


def hash_images(splits: Mapping[str, ImageDataset], progress: Progress) -> Hashes:
    """Hash the decoded pixels of all images; only a few are in memory at a time.

    Args:
        splits: "train", "validation" and "test" -> images.
        progress: told how many were hashed.
    """
    progress.start("looking for duplicates", sum(map(len, splits.values())))
    pixels: dict[str, Digests] = {}
    targets: dict[str, Digests] = {}
    for name, images in splits.items():
        pixels[name], targets[name] = np.empty(len(images), "V16"), np.empty(len(images), "V16")
        for start in range(0, len(images), _CHUNK):
            index = torch.arange(start, min(start + _CHUNK, len(images)))
            for into, values in (
                (pixels, images.fetch(index).cpu().numpy()),
                (targets, map(_without_padding, images.fetch_targets(index).cpu().numpy())),
            ):
                for place, value in zip(index.tolist(), values, strict=True):
                    digest = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16)
                    into[name][place] = np.void(digest.digest())
            progress.advance(len(index))
    progress.finish()
    return Hashes(pixels, targets)


def _without_padding(target: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A target without the rows that ``structures.pack_objects`` puts behind the boxes of an image."""
    boxes = target.ndim == 2 and target.dtype.kind == "f"
    return target[target[:, 0] != IGNORE_INDEX] if boxes else target


def stored_hashes(splits: Mapping[str, ImageDataset], progress: Progress) -> Hashes:
    """As ``hash_images``, for images that are decoded for it: once, and then kept in the user's cache folder.

    Args:
        splits: "train", "validation" and "test" -> images.
        progress: told how many were hashed.
    """
    key = hashlib.sha256("".join(images.fingerprint for images in splits.values()).encode()).hexdigest()[:32]
    file = Path(platformdirs.user_cache_dir("persistill")) / "pixel_hashes" / f"{key}.npz"
    if (kept := _read(file, {name: len(images) for name, images in splits.items()})) is not None:
        return kept
    found = hash_images(splits, progress)
    arrays = {f"{kind}_{name}": getattr(found, kind)[name] for kind in Hashes._fields for name in splits}
    with contextlib.suppress(OSError):  # where no cache can be written, images are decoded again the next time
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary, temporary.open("wb") as out:
            np.savez(out, **{name: array.view(np.uint8).reshape(-1, 16) for name, array in arrays.items()})
    return found


def _read(file: Path, counts: Mapping[str, int]) -> Hashes | None:
    """What was kept; None where nothing of use was."""
    kept: dict[str, dict[str, Digests]] = {kind: {} for kind in Hashes._fields}
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for kind, found in kept.items():
                for name, count in counts.items():
                    array = arrays[f"{kind}_{name}"]
                    if array.dtype != np.uint8 or array.shape != (count, 16):
                        return None
                    found[name] = np.ascontiguousarray(array).view("V16")[:, 0]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Hashes(**kept)
