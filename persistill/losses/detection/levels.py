"""Levels of two detectors that show the same places, and where on them objects are."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.functional import check_batches
from persistill.models.detection.output import DetectionOutput
from persistill.structures import IGNORE_INDEX, OBJECT_FIELDS, ModelOutput


class LevelPair(NamedTuple):
    """One level of a student and one of a teacher, of one height and width.

    Attributes:
        student: (B, C, H, W).
        teacher: (B, C', H, W).
    """

    student: Tensor
    teacher: Tensor


def match_levels(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> list[LevelPair]:
    """Pair levels by height and width, whatever they are called: both networks are given the same batch of images.

    Where a network has two levels of one size, the later one counts. Levels without a partner are left out.

    Args:
        student: level -> (B, C, H, W).
        teacher: level -> (B, C', H, W).

    Returns:
        The pairs, in the student's order.

    Raises:
        UserError: if no size is common to both, or the batches differ.
    """
    ours, theirs = ({tuple(maps.shape[2:]): maps for maps in levels.values()} for levels in (student, teacher))
    pairs = [LevelPair(maps, theirs[size]) for size, maps in ours.items() if size in theirs]
    if not pairs:
        sizes = [", ".join(f"{height} x {width}" for height, width in levels) or "none" for levels in (ours, theirs)]
        raise UserError(
            f"levels are compared place by place, and no level of the student (sizes {sizes[0]}) has the size of one "
            f"of the teacher ({sizes[1]}). Give both the same batch of images, and networks with common strides."
        )
    for pair in pairs:
        check_batches(*pair, "levels")
    return pairs


def image_size(output: ModelOutput, loss: str) -> tuple[int, int]:
    """Height and width of the batch that a detector saw.

    Args:
        output: its output.
        loss: that needs it, for the error.

    Raises:
        UserError: if it is no detector's.
    """
    if not isinstance(output, DetectionOutput):
        raise UserError(f"{loss} needs the DetectionOutput of a detector; a {type(output).__name__} was given.")
    return output.image_size


def foreground(target: Tensor, places: tuple[int, int], image: tuple[int, int]) -> Tensor:
    """Where on a level objects are, each object with the same weight: 1 / the number of places that its box touches.

    Places where boxes lie over each other have the weight of the smallest. Difficult objects and crowds are none.

    Args:
        target: (B, M, 7) of ``structures.pack_objects``, boxes in pixels of the image.
        places: height and width of the level.
        image: height and width of the image.

    Returns:
        (B, H, W) float32; 0 where no object is.

    Raises:
        UserError: if the target is of another form.
    """
    if target.ndim != 3 or target.shape[2] != OBJECT_FIELDS:
        raise UserError(
            f"objects are given as (B, M, {OBJECT_FIELDS}), as structures.pack_objects makes it; {tuple(target.shape)} "
            "was given."
        )
    height, width = places
    if not target.shape[1]:
        return target.new_zeros(len(target), height, width)
    cells = target.new_tensor([width / image[1], height / image[0]]).repeat(2)
    edges = target[..., :4] * cells
    low, high = edges[..., :2].floor(), edges[..., 2:].ceil()
    inside = []
    for axis, side in ((1, height), (0, width)):
        place = torch.arange(side, device=target.device)
        inside.append((place >= low[..., axis, None]) & (place < high[..., axis, None]))
    counted = (target[..., 4] != IGNORE_INDEX) & (target[..., 5:] == 0).all(-1)
    masks = inside[0][..., :, None] & inside[1][..., None, :] & counted[..., None, None]  # (B, M, H, W)
    return (masks / masks.sum((2, 3), keepdim=True).clamp(min=1)).amax(1)
