"""Random numbers that belong to an image and to nothing else.

A generator with a state would tie an image's noise to the images before it. Here each number is a hash of what it is
for: SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), whose state is a
counter, evaluated for all images and places at once, in 64-bit integers, on the device of the images.
"""

import hashlib
import math

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_UNIT = 2.0**-24


class Draws:
    """The random numbers of a batch of images.

    They depend on (seed, name, severity, index of the image) and on the stream that they are asked from; asked again,
    they are the same.

    Args:
        seed: any integer.
        name: of the corruption.
        severity: of the corruption.
        index: (B,) int64, positions of the images in their split; their device is where numbers are drawn.
    """

    def __init__(self, seed: int, name: str, severity: int, index: Tensor) -> None:
        self._purpose = f"{seed} {name} {severity}"
        self._index = index

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """(B, *shape) float64, uniform on the open interval (0, 1), on a grid of 2^24 values."""
        count = math.prod(shape)
        bits = self._bits(stream, (count + 1) // 2)
        # Each hash gives two numbers, of its lowest and of its highest bits.
        both = torch.stack((bits & 0xFFFFFF, (bits >> 40) & 0xFFFFFF), dim=2).flatten(1)[:, :count]
        return ((both.double() + 0.5) * _UNIT).reshape(-1, *shape)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """(B, *shape) float64, standard normal, by the transform of Box and Muller; no larger than 5.9."""
        count = math.prod(shape)
        length, turn = self.uniform(stream, (count + 1) // 2, 2).unbind(2)
        length = length.log().mul_(-2).sqrt_()
        turn = turn * (2 * math.pi)
        both = torch.cat((length * turn.cos(), length * turn.sin()), dim=1)
        return both[:, :count].reshape(-1, *shape)

    def integers(self, stream: str, low: int, high: int, *shape: int) -> Tensor:
        """(B, *shape) int64, uniform on low, ..., high - 1."""
        return (self.uniform(stream, *shape) * (high - low)).floor().long() + low

    def _bits(self, stream: str, count: int) -> Tensor:
        digest = hashlib.sha256(f"{self._purpose} {stream}".encode()).digest()
        start = int.from_bytes(digest[:8], "big", signed=True)
        key = _mix(self._index * _STEP + start)
        return _mix(torch.arange(1, count + 1, device=key.device) * _STEP + key[:, None])


def _mix(state: Tensor) -> Tensor:
    """The output function of SplitMix64; products wrap around, and shifts are of unsigned numbers."""
    state = (state ^ ((state >> 30) & 0x3_FFFF_FFFF)) * _FIRST
    state = (state ^ ((state >> 27) & 0x1F_FFFF_FFFF)) * _SECOND
    return state ^ ((state >> 31) & 0x1_FFFF_FFFF)
