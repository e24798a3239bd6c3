"""A user's own network by ``package.module:function``. Naming one imports and runs that code."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from persistill.errors import UserError
from persistill.models.base import Network
from persistill.models.detection.detector import Detector
from persistill.models.detection.parts import is_detector
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.feature_extraction.wrapper import adapt
from persistill.utils.registry import import_object, is_own_code, parameters_of

_SIZE = (32, 32)


def import_factory(name: str) -> Callable[..., Any]:
    """Import what ``package.module:function`` names: a function or a class.

    Raises:
        UserError: if the module cannot be imported, has no such name, or the name cannot be called with ``in_channels``
            and ``num_classes``.
    """
    if not is_own_code(name):
        raise UserError(f"{name!r} does not name a network of your own: write package.module:function.")
    found = import_object(name, "model")
    if not callable(found):
        raise UserError(f"{name!r} is no function or class but a {type(found).__name__}; name what makes the network.")
    path = name.partition(":")[2]
    try:
        signature = inspect.signature(found)
    except (ValueError, TypeError):
        raise UserError(
            f"{name!r} is not written in Python and states no parameters: name a function or class that is called with "
            "in_channels and num_classes, and returns the network."
        ) from None
    try:
        signature.bind(in_channels=3, num_classes=10, **_size_of(found, _SIZE))
    except TypeError as error:
        raise UserError(
            f"{name!r} must be callable as {path}(in_channels=3, num_classes=10), and its signature is "
            f"{path}{signature}: {error}."
        ) from None
    made: Callable[..., Any] = found
    return made


def build_user_model(name: str, in_channels: int, num_classes: int, image_size: Size | None) -> Network:
    """Call a user's function or class with ``in_channels``, ``num_classes`` and, where it takes that, ``image_size``.

    Args:
        name: ``package.module:function``.
        in_channels: channels of the images.
        num_classes: number of classes.
        image_size: height and width of the images; None for 32x32.

    Returns:
        What the function returned if that is a ``Network`` (made by ``adapt``, with layers of its choice); of a
        detector with torchvision's transform a ``Detector``; any other module, adapted with default layers.

    Raises:
        UserError: if the function fails or returns something else, or if that does not fit the images and classes.
    """
    function = import_factory(name)
    size = image_size or _SIZE
    try:
        made = function(in_channels=in_channels, num_classes=num_classes, **_size_of(function, size))
    except UserError:
        raise
    except Exception as error:  # other people's code, which may raise anything
        raise UserError(
            f"{name!r}, called with in_channels={in_channels} and num_classes={num_classes}, raised {_quoted(error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise UserError(f"{name!r} returned a {type(made).__name__}; it must return the network, an nn.Module.")
    if not isinstance(made, Network) and is_detector(made):
        return Detector(name, made, in_channels, num_classes, image_size)
    if not isinstance(made, Network):
        return adapt(made, in_channels, num_classes, image_size=size, name=name)
    if (made.spec.in_channels, made.spec.num_classes) != (in_channels, num_classes):
        raise UserError(
            f"{name!r} was called with in_channels={in_channels} and num_classes={num_classes}, and returned a network "
            f"with {made.spec.in_channels} and {made.spec.num_classes}. Let it use what it is given."
        )
    made.name = name
    return made


def _size_of(function: Callable[..., Any], size: Size) -> dict[str, Size]:
    """The size as an argument, for those that take it."""
    return {"image_size": size} if "image_size" in parameters_of(function) else {}


def _quoted(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip() or 'without a message'}"
