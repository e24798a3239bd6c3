"""Test images that tell something about the networks of a comparison, kept small for whoever looks at it later."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.tasks.classification.clean import PREDICTIONS
from persistill.tasks.look import TARGET, Look
from persistill.utils.atomic_io import atomic

IMAGES = "images.npz"
HARDEST = 24
"""Images that are kept because students do worst on them ..."""
ALONE = 12
"""... and for each pair of teachers, because the second alone gets them right."""
SIDE = 96
"""Pixels of the longest side of an image as it is kept."""


def hardest(students: Iterable[Tensor], target: Tensor, most: int = HARDEST) -> Tensor:
    """The images on which students do worst: of largest mean negative log-likelihood of the right class.

    A student whose likelihoods are not all finite counts for nothing: it would decide alone.

    Args:
        students: (N, K) logits, one entry a student.
        target: (N,) right classes.
        most: how many are chosen.

    Returns:
        (n,) int64 rows, hardest first; of equally hard ones the lower row first. None if no student counts.
    """
    total, counted = torch.zeros(len(target), dtype=torch.float64), 0
    for logits in students:
        surprise = F.cross_entropy(logits.double(), target, reduction="none")
        if surprise.isfinite().all():
            total, counted = total + surprise, counted + 1
    return total.sort(descending=True, stable=True).indices[: most if counted else 0]


def only_second(first: Tensor, second: Tensor, target: Tensor, most: int = ALONE) -> Tensor:
    """The images that the second of two networks gets right and the first wrong, and of which it is surest.

    Args:
        first: (N, K) logits.
        second: (N, K) logits.
        target: (N,) right classes.
        most: how many are chosen.

    Returns:
        (n,) int64 rows by the second's probability of the right class, largest first; of equals the lower row first.
    """
    alone = ((second.argmax(1) == target) & (first.argmax(1) != target)).nonzero().squeeze(1)
    sure = second[alone].double().softmax(1).amax(1)
    return alone[sure.sort(descending=True, stable=True).indices[:most]]


def keep_images(
    folder: Path, students: Sequence[Path], pairs: Mapping[tuple[str, str], tuple[Path, Path]], look: Look
) -> None:
    """Write ``images.npz``: the hardest images, and for each pair those that only its second teacher gets right.

    ``docs/evaluation.md`` lists the arrays.

    Args:
        folder: where to write.
        students: folders of their evaluations, all of the same test images.
        pairs: names of an image teacher and a topology teacher -> the folders of their evaluations.
        look: gives the images of chosen rows.
    """
    target = _stored(students[0], "target")
    chosen = {"hardest": hardest((_stored(student, "logits") for student in students), target)}
    for (first, second), (one, other) in pairs.items():
        alone = only_second(_stored(one, "logits"), _stored(other, "logits"), target)
        chosen[f"only_{second}_not_{first}"] = alone
    rows = torch.from_numpy(np.unique(torch.cat(list(chosen.values())).numpy()))
    seen = dict(look(rows))
    images = seen.pop("image")
    seen.pop(TARGET, None)  # the predictions hold it
    arrays = {
        "rows": rows,
        "target": target[rows],
        "images": _small(images),
        **{name: torch.searchsorted(rows, of) for name, of in chosen.items()},
        **{f"view_{name}": (255 * of).round().to(torch.uint8) for name, of in seen.items()},
    }
    with atomic(folder / IMAGES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: array.cpu().numpy() for name, array in arrays.items()})  # type: ignore[arg-type]


def _stored(evaluation: Path, name: str) -> Tensor:
    with np.load(evaluation / PREDICTIONS) as file:
        return torch.from_numpy(file[name])


def _small(images: Tensor) -> Tensor:
    """Images (n, C, H, W) uint8, made smaller where a side is longer than ``SIDE``."""
    height, width = images.shape[2:]
    scale = SIDE / max(height, width)
    if scale >= 1 or not len(images):
        return images
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    smaller = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return smaller.round().clamp(0, 255).to(torch.uint8)
