"""The networks that a recipe can name."""

from collections.abc import Callable
from functools import partial

from persistill.errors import UserError, unknown
from persistill.models.network import Network
from persistill.models.resnet import ResNet
from persistill.models.wrn import WideResNet

_TABLE: dict[str, Callable[[int, int], Network]] = {
    "resnet-8": partial(ResNet, 8, 1),
    "resnet-14": partial(ResNet, 14, 1),
    "resnet-20": partial(ResNet, 20, 1),
    "resnet-32": partial(ResNet, 32, 1),
    "resnet-44": partial(ResNet, 44, 1),
    "resnet-56": partial(ResNet, 56, 1),
    "resnet-110": partial(ResNet, 110, 1),
    "resnet-8x4": partial(ResNet, 8, 4),
    "resnet-32x4": partial(ResNet, 32, 4),
    "wrn-10-1": partial(WideResNet, 10, 1),
    "wrn-10-2": partial(WideResNet, 10, 2),
    "wrn-10-3": partial(WideResNet, 10, 3),
    "wrn-16-1": partial(WideResNet, 16, 1),
    "wrn-16-2": partial(WideResNet, 16, 2),
    "wrn-16-3": partial(WideResNet, 16, 3),
    "wrn-16-4": partial(WideResNet, 16, 4),
    "wrn-16-5": partial(WideResNet, 16, 5),
    "wrn-16-6": partial(WideResNet, 16, 6),
    "wrn-16-8": partial(WideResNet, 16, 8),
    "wrn-28-1": partial(WideResNet, 28, 1),
    "wrn-28-3": partial(WideResNet, 28, 3),
    "wrn-28-6": partial(WideResNet, 28, 6),
    "wrn-40-1": partial(WideResNet, 40, 1),
    "wrn-40-2": partial(WideResNet, 40, 2),
    "wrn-40-3": partial(WideResNet, 40, 3),
}

NAMES = tuple(_TABLE)


def build(name: str, in_channels: int, num_classes: int) -> Network:
    """Make a network with fresh weights, drawn from torch's global generator.

    Args:
        name: one of ``NAMES``.
        in_channels: channels of the pictures that it will see, 1 or more.
        num_classes: number of classes, 2 or more.

    Raises:
        UserError: if there is no network of that name, with the near ones, or a number is out of range.
    """
    if name not in _TABLE:
        raise unknown("model", name, NAMES)
    if in_channels < 1 or num_classes < 2:
        raise UserError(
            f"model {name!r} needs 1 or more channels and 2 or more classes; "
            f"{in_channels} channels and {num_classes} classes were given."
        )
    return _TABLE[name](in_channels, num_classes)
