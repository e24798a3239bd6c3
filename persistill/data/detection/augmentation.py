"""Augmentation of images with boxes: flips, scales, crops that keep objects, and colors."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from persistill.errors import unknown
from persistill.structures import Objects, pack_objects, unpack_objects
from persistill.utils.registry import Registry

SCALES = (0.5, 1.5)
"""Sides of an image after "scale", as shares of before."""
SHORTEST, WIDEST = 0.3, 2.0
"""Of a crop: the least share of a side, and the most that one side may be longer than the other."""
OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""What a crop must share (intersection over union) with every object whose center it keeps; one of these is drawn."""
TRIES = 40
"""Crops that are drawn before the image stays as it is."""
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = (0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05)

Draw = Callable[..., float]
Augmentation = Callable[[Tensor, Objects, Draw], tuple[Tensor, Objects]]


def augment_boxes(
    images: Tensor, targets: Tensor, index: Tensor, names: Sequence[str], *, seed: int, epoch: int
) -> tuple[Tensor, Tensor]:
    """Augment the images of a batch at random, each differently, and their boxes with them.

    What is drawn for an image depends on seed, epoch and its position in the split alone, and not on its batch: a
    training that is resumed sees the same. Boxes that leave the image are left out, others are clipped.

    * "flip": mirrored left and right, with probability one half.
    * "scale": brought to 0.5 to 1.5 of its size (uniformly in the logarithm), and a window of the old size is cut out
      of it at random, or it is laid on black at random.
    * "crop": a window of 0.3 to 1 of the sides, brought to the old size. Objects whose centers lie inside are kept, at
      least one, and each shares with the window what is drawn from ``OVERLAPS``, as in SSD (Liu et al. 2016). One of
      seven images stays whole.
    * "color": brightness, contrast, saturation and hue, each with probability one half, as in SSD.

    Pixels are changed by torchvision.transforms.v2's functions; what is random comes from generators of our own, for
    torch's global one belongs to the network.

    Args:
        images: (B, C, H, W) uint8.
        targets: (B, M, 7) of ``pack_objects``.
        index: (B,) int64 positions in the split.
        names: what is done, in this order.
        seed: of the training.
        epoch: its number.

    Returns:
        Images and targets, as they were given. M may be smaller.

    Raises:
        UserError: for an unknown name.
    """
    _check(names)
    changed, kept = [], []
    for pixels, objects, position in zip(images, unpack_objects(targets), index.tolist(), strict=True):
        draw = _drawing(seed, epoch, position)
        for name in names:
            pixels, objects = AUGMENTATIONS[name](pixels, objects, draw)  # noqa: PLW2901 - one after the other
        changed.append(pixels)
        kept.append(objects)
    return torch.stack(changed), pack_objects(kept)


class BoxAugmentation:
    """``augment_boxes`` as an augmentation of ``data.Loader``: ``Loader(..., augment=(BoxAugmentation("flip"),))``.

    Args:
        names: of ``AUGMENTATIONS``, in the order in which they are done.

    Raises:
        UserError: for an unknown name.
    """

    def __init__(self, *names: str) -> None:
        _check(names)
        self.names = names

    def __call__(self, images: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) uint8 and targets (B, M, 7); the loader's generator knows seed, epoch and batch."""
        seed = int(torch.randint(2**62, (), generator=generator))
        return augment_boxes(images, target, torch.arange(len(images)), self.names, seed=seed, epoch=0)


def flip(pixels: Tensor, objects: Objects, draw: Draw) -> tuple[Tensor, Objects]:
    """Mirror left and right, or not."""
    if draw() >= 0.5:
        return pixels, objects
    x1, y1, x2, y2 = objects.boxes.unbind(1)
    width = pixels.shape[2]
    return _functional().horizontal_flip(pixels), objects._replace(
        boxes=torch.stack([width - x2, y1, width - x1, y2], 1)
    )


def scale(pixels: Tensor, objects: Objects, draw: Draw) -> tuple[Tensor, Objects]:
    """Another size in the same frame."""
    functional = _functional()
    size = torch.tensor([pixels.shape[1], pixels.shape[2]])
    low, high = (torch.tensor(share).log() for share in SCALES)
    factor = (low + draw() * (high - low)).exp()
    scaled = (size * factor).round().clamp(min=1).long()
    ratio = (scaled / size).flip(0).repeat(2)
    pixels = functional.resize(pixels, scaled.tolist(), antialias=True)
    # Where the window begins in the image, or (negative) the image in the window.
    top, left = (int(draw() * (int(spare) + 1 if spare >= 0 else int(spare) - 1)) for spare in scaled - size)
    pixels = functional.crop(pixels, top, left, *size.tolist())  # what lies outside is black
    boxes = objects.boxes * ratio.to(objects.boxes) - torch.tensor([left, top, left, top]).to(objects.boxes)
    return pixels, _inside(objects._replace(boxes=boxes), *size.tolist())


def crop(pixels: Tensor, objects: Objects, draw: Draw) -> tuple[Tensor, Objects]:
    """A window that holds objects, enlarged to the frame."""
    height, width = pixels.shape[1:]
    choice = int(draw() * (len(OVERLAPS) + 1))
    if choice == len(OVERLAPS) or not len(objects.labels):
        return pixels, objects
    for _ in range(TRIES):
        tall, wide = (max(1, int((SHORTEST + draw() * (1 - SHORTEST)) * side)) for side in (height, width))
        shape = (tall / height) / (wide / width)
        if not 1 / WIDEST <= shape <= WIDEST:
            continue
        top, left = int(draw() * (height - tall + 1)), int(draw() * (width - wide + 1))
        window = objects.boxes.new_tensor([left, top, left + wide, top + tall])
        centers = (objects.boxes[:, :2] + objects.boxes[:, 2:]) / 2
        kept = ((centers > window[:2]) & (centers < window[2:])).all(1)
        if not kept.any() or float(_overlap(objects.boxes[kept], window).min()) < OVERLAPS[choice]:
            continue
        found = objects.select(kept)
        zoom = found.boxes.new_tensor([width / wide, height / tall]).repeat(2)
        moved = found._replace(boxes=(found.boxes - window[:2].repeat(2)) * zoom)
        pixels = _functional().resized_crop(pixels, top, left, tall, wide, [height, width], antialias=True)
        return pixels, _inside(moved, height, width)
    return pixels, objects


def color(pixels: Tensor, objects: Objects, draw: Draw) -> tuple[Tensor, Objects]:
    """Other brightness, contrast, saturation and hue; gray images keep the last two."""
    functional = _functional()
    steps = [(functional.adjust_brightness, _BRIGHTNESS), (functional.adjust_contrast, _CONTRAST)]
    if len(pixels) == 3:
        steps += [(functional.adjust_saturation, _SATURATION), (functional.adjust_hue, _HUE)]
    for adjust, (low, high) in steps:
        wanted, amount = draw() < 0.5, draw()
        if wanted:
            pixels = adjust(pixels, low + amount * (high - low))
    return pixels, objects


AUGMENTATIONS: Mapping[str, Augmentation] = {"flip": flip, "scale": scale, "crop": crop, "color": color}
BOX_AUGMENTATIONS: Registry[Callable[..., Any]] = Registry(
    "augmentation of boxes",
    AUGMENTATIONS,
    contract="An augmentation of images with boxes is called with (images, target, generator) and returns images and "
    "targets, (B, M, 7) as structures.pack_objects makes them.",
)
"""``train.augment`` of a detection holds these names, and functions or objects of one's own, in the recipe file or by
"package.module:Name"; see ``data.AUGMENTATIONS`` for what they are given."""


def _check(names: Sequence[str]) -> None:
    for name in names:
        if name not in AUGMENTATIONS:
            raise unknown("augmentation of boxes", name, AUGMENTATIONS)


def _drawing(*parts: int) -> Draw:
    """Uniform numbers in [0, 1) from a generator of its own for every tuple of numbers."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return lambda: float(torch.rand((), generator=generator))


def _inside(objects: Objects, height: int, width: int) -> Objects:
    limit = objects.boxes.new_tensor([width, height]).repeat(2)
    boxes = torch.minimum(objects.boxes.clamp(min=0), limit)
    return objects._replace(boxes=boxes).select((boxes[:, 2:] - boxes[:, :2] >= 1).all(1))


def _overlap(boxes: Tensor, window: Tensor) -> Tensor:
    """(n,) intersection over union of boxes with one window."""
    shared = (torch.minimum(boxes[:, 2:], window[2:]) - torch.maximum(boxes[:, :2], window[:2])).clamp(min=0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return shared / (areas + (window[2:] - window[:2]).prod() - shared)


def _functional() -> Any:
    from torchvision.transforms.v2 import functional  # noqa: PLC0415  slow to import

    return functional
