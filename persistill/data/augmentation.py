"""Random crops, flips and augmentations of one's own, of a whole batch at once, on its device."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from persistill.errors import UserError
from persistill.structures import IGNORE_INDEX
from persistill.utils.registry import Registry, named, parameters_of

_CROP, _FLIP = "crop", "flip"


def augment(
    images: Tensor,
    target: Tensor,
    names: Sequence[Any],
    padding: int,
    generator: torch.Generator,
    crop_size: tuple[int, int] | None = None,
    *,
    part: tuple[slice, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Augment every image of a batch at random, each differently, and its mask with it.

    * "crop": pad by ``padding`` zeros (black) on all four sides, and cut a window at a place drawn uniformly, as
      torchvision's ``RandomCrop(size, padding)`` does with one image.
    * "flip": mirror left and right with probability one half.
    * Others, in their order after these: see ``AUGMENTATIONS``.

    Args:
        images: (B, C, H, W) pixels of any dtype, before normalization, so that zero is black.
        target: (B,) classes of the images, which stay as they are, or (B, H, W) classes of their pixels.
        names: what is done; the order of "crop" and "flip" makes no difference.
        padding: of the crop, in pixels. Padded pixels have no class.
        generator: draws places and flips, on the CPU, so that every device sees the same ones.
        crop_size: (h, w) of the crop; None for (H, W).
        part: which rows of how many the images are, if "crop" and "flip" are to do to them what they would do if all
            were given; others must be given all.

    Returns:
        (B, C, h, w) in the dtype and on the device of ``images``, and the target: (B,) or (B, h, w).

    Raises:
        UserError: for an unknown name, or an augmentation that gives something else than images.
        ValueError: for a negative padding, or a crop that is larger than the padded image.
    """
    own = [(name, AUGMENTATIONS.find(name)) for name in names if name not in (_CROP, _FLIP)]
    if padding < 0:
        raise ValueError(f"padding must be 0 or more; {padding} was given.")
    crop, flip = _CROP in names, _FLIP in names
    if crop or flip:
        images, target = crop_and_flip(images, target, generator, padding, crop_size, crop=crop, flip=flip, part=part)
    for name, function in own:
        images, target = _applied(function, named(name), images, target, generator)
    return images, target


def crop_and_flip(
    images: Tensor,
    target: Tensor,
    generator: torch.Generator,
    padding: int = 4,
    crop_size: tuple[int, int] | None = None,
    *,
    crop: bool = True,
    flip: bool = True,
    part: tuple[slice, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Crops and flips, gathered at once; see ``augment``. Flips are drawn first, then rows, then columns."""
    count, dense = len(images), target.ndim == 3
    drawn, whole = part or (slice(None), count)
    height, width = size = images.shape[2:]
    if crop:
        height, width = crop_size or size
        if height > size[0] + 2 * padding or width > size[1] + 2 * padding:
            raise ValueError(
                f"crop_size must fit into the padded image, {size[0] + 2 * padding}x{size[1] + 2 * padding}; "
                f"{height}x{width} was given."
            )
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if flip:
        mirrored = torch.rand(whole, 1, generator=generator)[drawn] < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    if crop:
        frame = (padding, padding, padding, padding)
        images = F.pad(images, frame)
        if dense:
            target = F.pad(target, frame, value=IGNORE_INDEX)
        rows = rows + torch.randint(images.shape[2] - height + 1, (whole, 1), generator=generator)[drawn]
        columns = columns + torch.randint(images.shape[3] - width + 1, (whole, 1), generator=generator)[drawn]
    rows, columns = rows.to(images.device)[:, :, None], columns.to(images.device)[:, None, :]
    samples = torch.arange(count, device=images.device)[:, None, None]
    # Indexing around the channel axis puts it last: (B, H, W, C).
    picked = images[samples, :, rows, columns].permute(0, 3, 1, 2).contiguous()
    return picked, target[samples, rows, columns] if dense else target


AUGMENTATIONS: Registry[Callable[..., Any]] = Registry(
    "augmentation",
    {_CROP: crop_and_flip, _FLIP: crop_and_flip},
    contract="An augmentation is called with (images, generator) and returns images; one that takes target as well "
    "returns (images, target).",
)
"""``train.augment`` holds "crop", "flip", and functions or objects of one's own, in the recipe file or by
"package.module:Name". One's own is called with ``images`` ((B, C, H, W) uint8, on the device) and ``generator`` (on the
CPU; all that is random must be drawn from it, so that a resumed training sees the same) and returns images of the same
type. One that moves pixels takes ``target`` too, and returns (images, target): masks must move with their images."""


def _applied(
    function: Callable[..., Any], name: str, images: Tensor, target: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    with_target = "target" in parameters_of(function)
    if with_target:
        changed, target = function(images, target=target, generator=generator)
    else:
        changed = function(images, generator=generator)
    wanted = (len(images), images.shape[1])
    if not isinstance(changed, Tensor) or changed.dtype != images.dtype or tuple(changed.shape[:2]) != wanted:
        given = f"{tuple(changed.shape)} {changed.dtype}" if isinstance(changed, Tensor) else type(changed).__name__
        raise UserError(
            f"the augmentation {name} must return (B, C, H, W) images like those that it was given, "
            f"{tuple(images.shape)} {images.dtype}; it returned {given}."
        )
    return changed, target
