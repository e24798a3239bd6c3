"""Corrupted pictures: the one function that everything else calls."""

from collections.abc import Iterator

import torch
from torch import Tensor

from persistill.errors import UserError, unknown
from persistill.perturbations.corruptions.counter_rng import Draws
from persistill.perturbations.corruptions.registry import SEVERITIES, TABLE

_SMALL, _LARGE = 32, 224
_BORDER = 85
"""About the geometric mean of the two: shorter sides below it take the parameters of small pictures."""

_VALUES = 1 << 18
"""Values in what is corrupted at a time: in float64, it fits into a processor's cache."""


def corrupt(pictures: Tensor, name: str, severity: int, seed: int, index: Tensor) -> Tensor:
    """Pictures as they look through noise, blur, bad weather or careless processing.

    What is random depends on (seed, name, severity, index of the picture) alone: neither on the other pictures of the
    batch nor on the device. Everything is computed in float64 and ends in 8 bits, cut off and not rounded, as the
    published data sets are.

    Args:
        pictures: (B, C, H, W), floating point in [0, 1], taken as 8-bit pictures: values are rounded to 255ths.
        name: one of ``CORRUPTIONS`` and ``EXTRA_CORRUPTIONS``.
        severity: 1 to 5.
        seed: any integer.
        index: (B,) integers, the pictures' positions in their split.

    Returns:
        (B, C, H, W) on the device and in the type of ``pictures``, in [0, 1], multiples of 1/255.

    Raises:
        UserError: if there is no such corruption or severity, or if the pictures are none.
    """
    if name not in TABLE:
        raise unknown("corruption:", name, TABLE)
    if severity not in SEVERITIES:
        raise UserError(f"severities of {name} are 1, 2, 3, 4 and 5; {severity!r} was given.")
    _check(pictures, index)
    corruption = TABLE[name]
    shorter = min(pictures.shape[-2:])
    if shorter < _BORDER:
        parameters, scale = corruption.small, max(1.0, shorter / _SMALL)
    else:
        parameters, scale = corruption.large, shorter / _LARGE
    # Apple's GPUs have no float64.
    device = torch.device("cpu") if pictures.device.type == "mps" else pictures.device
    done = torch.empty_like(pictures)
    for part in _parts(pictures):
        clean = (pictures[part].to(device).double() * 255).round() / 255
        draws = Draws(seed, name, severity, index[part].to(device).long())
        changed = corruption.apply(clean, draws, scale, *parameters[severity - 1]).clamp(0, 1)
        # What is a whole level but for the last digits must not lose one.
        done[part] = ((changed * 255 + 1e-6).floor() / 255).to(pictures)
    return done


def _parts(pictures: Tensor) -> Iterator[slice]:
    size = max(1, _VALUES // max(1, pictures[0].numel())) if len(pictures) else 1
    if pictures.device.type == "cuda":
        size *= 64
    for start in range(0, len(pictures), size):
        yield slice(start, start + size)


def _check(pictures: Tensor, index: Tensor) -> None:
    if pictures.ndim != 4 or 0 in pictures.shape[1:] or not pictures.is_floating_point():
        raise UserError(
            "pictures must be (B, C, H, W) floating point in [0, 1]; "
            f"{tuple(pictures.shape)} {pictures.dtype} was given."
        )
    if index.shape != pictures.shape[:1] or index.is_floating_point():
        raise UserError(
            f"index must hold one integer for each of the {len(pictures)} pictures, its position in the split; "
            f"{tuple(index.shape)} {index.dtype} was given."
        )
    if len(pictures):
        low, high = pictures.aminmax()
        if not (low >= 0 and high <= 1):
            raise UserError(f"pictures must be in [0, 1], before normalisation; theirs go from {low:g} to {high:g}.")
