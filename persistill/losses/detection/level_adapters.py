"""Convolutions that bring a student's levels to the teacher's channels, where these differ."""

from collections.abc import Iterable

from torch import Tensor, nn

from persistill.losses.adapters import apply
from persistill.losses.detection.levels import LevelPair
from persistill.losses.functional import full_precision


def make_adapters(pairs: Iterable[LevelPair]) -> nn.ModuleList:
    """One 1x1 convolution a pair of levels; nothing where the channels are the same."""
    return nn.ModuleList(
        nn.Identity() if ours.shape[1] == theirs.shape[1] else nn.Conv2d(ours.shape[1], theirs.shape[1], 1)
        for ours, theirs in pairs
    )


def adapt_level(adapter: nn.Module, maps: Tensor) -> Tensor:
    """A student's level with the teacher's channels, in float32 or more."""
    return full_precision(maps) if isinstance(adapter, nn.Identity) else apply(adapter, maps)
