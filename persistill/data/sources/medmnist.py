"""Data sets as one NumPy file in the layout of MedMNIST: ``train_images``, ``train_labels``, ``val_images``, ..."""

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from persistill.data.array_layout import LAYOUTS, array_layout
from persistill.data.sources.arrays import ArrayRows
from persistill.data.sources.base import ImageRows, IntArray, Source, part_of
from persistill.errors import UserError

_IMAGES, _LABELS = "_images", "_labels"
_CHANNELS = (1, 3)


def read_npz(file: Path) -> Source:
    """Read an .npz file in the layout of MedMNIST (Yang et al., 2023).

    Each part has two arrays: ``PART_images``, uint8, (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, and
    ``PART_labels``, (N,) or (N, 1) whole numbers from 0; parts are train, val and test. Classes are called by their
    numbers. All images are held in memory.

    Raises:
        UserError: if the file is damaged, or its arrays are not of this layout.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files if name.endswith((_IMAGES, _LABELS))}
            others = [name for name in arrays.files if name not in found]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read as .npz: {error}.") from error
    parts: dict[str, tuple[str, npt.NDArray[np.uint8], IntArray]] = {}
    for name, array in found.items():
        if not name.endswith(_IMAGES):
            continue
        prefix = name.removesuffix(_IMAGES)
        part = part_of(prefix)
        if part is None or part in parts:
            raise UserError(f"{file}: {name} belongs to no part of its own; names begin with train, val, test.")
        parts[part] = prefix, _pixels(file, name, array), _targets(file, prefix, found)
    if "train" not in parts:
        raise UserError(
            f"{file} holds no array train_images: an .npz file of images must have the layout of MedMNIST, with "
            f"train_images, train_labels, and val_ and test_ likewise. It holds "
            f"{', '.join([*found, *others]) or 'nothing'}."
        )
    number = 1 + max(int(targets.max(initial=0)) for _, _, targets in parts.values())
    rows: dict[str, ImageRows] = {}
    for part, (prefix, pixels, targets) in parts.items():
        if len(pixels) != len(targets):
            raise UserError(f"{file}: {prefix}_images holds {len(pixels)} images, and {prefix}_labels {len(targets)}.")
        rows[part] = ArrayRows(pixels, targets, f"{file.name}:{prefix}_images[{{}}]")
    return Source(tuple(map(str, range(number))), rows)


def _pixels(file: Path, name: str, array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """(N, H, W) gray or (N, H, W, 3) RGB."""
    layout = array_layout(array.shape, f"{file}: {name}")
    if array.dtype != np.uint8 or layout.channels not in _CHANNELS:
        raise UserError(
            f"{file}: {name} holds {array.dtype} of shape {array.shape}; images are uint8, {LAYOUTS}, with one channel "
            "(gray) or three (RGB)."
        )
    pixels: npt.NDArray[np.uint8] = layout.channels_first(array).astype(np.uint8, copy=False)
    return pixels[:, 0] if layout.channels == 1 else np.moveaxis(pixels, 1, -1)


def _targets(file: Path, prefix: str, found: dict[str, npt.NDArray[np.generic]]) -> IntArray:
    name = f"{prefix}{_LABELS}"
    if name not in found:
        raise UserError(f"{file} has {prefix}{_IMAGES} and no {name}.")
    labels = found[name]
    if labels.dtype.kind not in "ui" or labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[1] != 1):
        raise UserError(
            f"{file}: {name} holds {labels.dtype} of shape {labels.shape}; each image has one class, a whole number: "
            "(N,) or (N, 1)."
        )
    targets: IntArray = labels.reshape(-1).astype(np.int64)
    if targets.min(initial=0) < 0:
        raise UserError(f"{file}: {name} holds {int(targets.min())}; classes are numbered from 0.")
    return targets
