"""Test images that a comparison of detectors keeps to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from persistill.tasks.detection.files import DETECTIONS
from persistill.tasks.look import Look
from persistill.utils.atomic_io import atomic

IMAGES = "images.npz"
SHOWN = 8
"""Images that are kept, half of them the hardest."""
SIDE = 480
"""Pixels of the longest side of an image as it is kept."""
_LEAST_SCORE = 0.3
"""Of detections that count, as of ``metrics.error_counts``."""


def keep_examples(folder: Path, students: Sequence[Path], look: Look) -> None:
    """Write ``images.npz``: the images on which students do worst, and others.

    It holds "rows" (n,), ascending, which test images they are; "hardest", positions of those with the least mean F1,
    hardest first; "others", positions of others with objects, evenly spaced; "images" (n, C, h, w) uint8, made smaller
    where a side is longer than ``SIDE``; and "size" (2,), height and width of the images as networks see them, in whose
    pixels boxes are. The boxes stand in the evaluations.

    Args:
        folder: where to write.
        students: folders of their evaluations, all of the same test images.
        look: gives the images.
    """
    index, with_objects = _stored(students[0])
    order = torch.from_numpy(np.mean([_image_f1(student) for student in students], 0)).argsort(stable=True)
    hardest = order[: SHOWN // 2]
    rest = order[SHOWN // 2 :].sort().values
    rest = rest[with_objects[rest]]
    count = min(SHOWN - len(hardest), len(rest))
    others = rest[torch.arange(count) * len(rest) // max(1, count)]
    chosen = torch.cat([hardest, others]).sort().values
    images = look(index[chosen])["image"].cpu()
    height, width = images.shape[2:]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(scale * height)), max(1, round(scale * width))
    arrays = {
        "rows": chosen,
        "hardest": torch.searchsorted(chosen, hardest),
        "others": torch.searchsorted(chosen, others),
        "images": F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte(),
        "size": torch.tensor([height, width]),
    }
    with atomic(folder / IMAGES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: array.numpy() for name, array in arrays.items()})  # type: ignore[arg-type]


def _stored(evaluation: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) positions in the split of the test images, and which of them have objects that count."""
    with np.load(evaluation / DETECTIONS) as file:
        index = file["index"]
        return torch.from_numpy(index), torch.from_numpy(_objects(file, len(index)) > 0)


def _image_f1(evaluation: Path) -> NDArray[np.float64]:
    """(N,), of each image by itself the F1 of its detections at an intersection over union of 0.5; 1 where nothing is.

    Detections that are neither right nor wrong do not count.
    """
    with np.load(evaluation / DETECTIONS) as file:
        images, kept = len(file["index"]), file["scores"] >= _LEAST_SCORE
        right, wrong = (np.bincount(file["image"][kept & file[name]], minlength=images) for name in ("right", "wrong"))
        both = right + wrong + _objects(file, images)
    f1: NDArray[np.float64] = np.divide(2.0 * right, both, out=np.ones(images), where=both > 0)
    return f1


def _objects(arrays: np.lib.npyio.NpzFile, images: int) -> NDArray[np.int64]:
    """(N,) objects of each image that count."""
    counted = ~(arrays["object_difficult"] | arrays["object_crowd"])
    return np.bincount(arrays["object_image"][counted], minlength=images)
