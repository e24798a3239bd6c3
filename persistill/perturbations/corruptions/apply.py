"""Corrupts images by the name of a corruption."""

from collections.abc import Iterator

import torch
from torch import Tensor

from persistill.errors import UserError
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.registry import SEVERITIES, NamedCorruption, find_corruption
from persistill.utils.registry import call_with_known

_VALUES = 1 << 18
"""Values in what is corrupted at a time: in float64, it fits into a processor's cache."""


def corrupt(images: Tensor, corruption: object, severity: int, seed: int, index: Tensor) -> Tensor:
    """Corrupt images: noise, blur, weather or digital artifacts.

    What is random depends on (seed, name, severity, index of the image) alone: neither on the other images of the
    batch nor on the device. Everything is computed in float64 and ends in 8 bits, cut off and not rounded, as the
    published data sets are.

    Args:
        images: (B, C, H, W), floating point in [0, 1], taken as 8-bit images: values are rounded to 255ths.
        corruption: one of ``CORRUPTIONS`` and ``EXTRA_CORRUPTIONS``, what ``find_corruptions`` found, or one of
            your own.
        severity: 1 to 5.
        seed: any integer.
        index: (B,) integers, the images' positions in their split.

    Returns:
        (B, C, H, W) on the device and in the type of ``images``, in [0, 1], multiples of 1/255.

    Raises:
        UserError: if there is no such corruption or severity, or if the images are none.
    """
    name, apply = corruption if isinstance(corruption, NamedCorruption) else find_corruption(corruption)
    if severity not in SEVERITIES:
        raise UserError(f"severities of {name} are 1, 2, 3, 4 and 5; {severity!r} was given.")
    _check(images, index)
    # Apple's GPUs have no float64.
    device = torch.device("cpu") if images.device.type == "mps" else images.device
    done = torch.empty_like(images)
    for part in _parts(images):
        clean = (images[part].to(device).double() * 255).round() / 255
        draws = Draws(seed, name, severity, index[part].to(device).long())
        changed = call_with_known(apply, clean, severity=severity, draws=draws)
        if not isinstance(changed, Tensor) or changed.shape != clean.shape:
            given = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise UserError(f"the corruption {name} must return images {tuple(clean.shape)}; it returned {given}.")
        changed = changed.clamp(0, 1)
        # What is a whole level but for the last digits must not lose one.
        done[part] = ((changed * 255 + 1e-6).floor() / 255).to(images)
    return done


def _parts(images: Tensor) -> Iterator[slice]:
    size = max(1, _VALUES // max(1, images[0].numel())) if len(images) else 1
    if images.device.type == "cuda":
        size *= 64
    for start in range(0, len(images), size):
        yield slice(start, start + size)


def _check(images: Tensor, index: Tensor) -> None:
    if images.ndim != 4 or 0 in images.shape[1:] or not images.is_floating_point():
        raise UserError(
            f"images must be (B, C, H, W) floating point in [0, 1]; {tuple(images.shape)} {images.dtype} was given."
        )
    if index.shape != images.shape[:1] or index.is_floating_point():
        raise UserError(
            f"index must hold one integer for each of the {len(images)} images, its position in the split; "
            f"{tuple(index.shape)} {index.dtype} was given."
        )
    if len(images):
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise UserError(f"images must be in [0, 1], before normalization; theirs go from {low:g} to {high:g}.")
