"""Test images that a comparison of segmentations keeps to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from persistill.structures import IGNORE_INDEX
from persistill.tasks.look import TARGET, Look
from persistill.tasks.segmentation.clean import MASKS, PER_IMAGE
from persistill.utils.atomic_io import atomic
from persistill.utils.class_colors import IGNORED

IMAGES = "images.npz"
SHOWN = 8
"""Images that are kept, half of them the hardest."""
SIDE = 256
"""Pixels of the longest side of an image as it is kept."""


def keep_examples(folder: Path, students: Sequence[Path], look: Look) -> None:
    """Write ``images.npz``: of the images whose masks were kept, those on which students do worst, and others.

    It holds "rows" (n,), which test images they are; "hardest", positions of those with the least mean IoU, hardest
    first; "others", positions of others, evenly spaced; "images" (n, C, h, w) uint8; and "target" (n, h, w) uint8 with
    255 where a pixel has no class. Images and masks are made smaller where a side is longer than ``SIDE``.

    Args:
        folder: where to write.
        students: folders of their evaluations, all of the same test images.
        look: gives images and masks.
    """
    with np.load(students[0] / MASKS) as file:
        rows = torch.from_numpy(file["rows"])
    means = torch.stack([_image_iou(student)[rows] for student in students]).nanmean(0)
    order = means.nan_to_num(nan=torch.inf).argsort(stable=True)
    hardest = order[: SHOWN // 2]
    rest = order[SHOWN // 2 :].sort().values
    count = min(SHOWN - len(hardest), len(rest))
    others = rest[torch.arange(count) * len(rest) // max(1, count)]
    chosen = torch.cat([hardest, others]).sort().values
    seen = look(rows[chosen])
    images, target = seen["image"].cpu(), seen[TARGET].cpu()
    size = _size(images.shape[2], images.shape[3])
    arrays = {
        "rows": rows[chosen],
        "hardest": torch.searchsorted(chosen, hardest),
        "others": torch.searchsorted(chosen, others),
        "images": F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte(),
        "target": F.interpolate(target.where(target != IGNORE_INDEX, IGNORED)[:, None].float(), size)[:, 0].byte(),
    }
    with atomic(folder / IMAGES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: array.numpy() for name, array in arrays.items()})  # type: ignore[arg-type]


def _image_iou(evaluation: Path) -> torch.Tensor:
    """(N,), the mean IoU of each image by itself; NaN where no pixel has a class."""
    with np.load(evaluation / PER_IMAGE) as file:
        numerator, denominator = torch.from_numpy(file["miou"]).double().unbind(-1)
    return (numerator / denominator).nanmean(-1)


def _size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))
