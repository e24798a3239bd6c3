"""Traces one forward pass of any network: which modules are called, in which order, on tensors of which shapes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.feature_extraction.feature_layout import Size
from persistill.utils.units import counted

BATCH = 2
"""Images in a trace. Not one, so that attention windows, stacked along the batch, are not mistaken for the batch."""

Shape = tuple[int, ...]


class Call(NamedTuple):
    """The last call of a module in one forward pass.

    Attributes:
        path: of the module.
        input_shape: shape of its first argument, None if that is no tensor.
        output_shape: shape of its result, or of the first entry where it returns several; None if that is no tensor.
        returns_output_of: path of the module called inside it whose result it returns unchanged; None if there is none.
    """

    path: str
    input_shape: Shape | None
    output_shape: Shape | None
    returns_output_of: str | None


def trace(module: nn.Module, in_channels: int, image: Size) -> tuple[dict[str, Call], Any]:
    """Run a module on noise, in evaluation mode and without gradients, and record all calls.

    Modes, buffers and random states are restored; whatever else a forward pass changes in the module (lazy layers take
    their shape, caches are filled) stays changed.

    Args:
        module: takes (B, C, H, W).
        in_channels: C.
        image: H and W.

    Returns:
        The calls of all modules but the outermost, by path and in the order in which they ended; and what the module
        returned for two images.

    Raises:
        UserError: if the module fails, with what it said.
    """
    calls: dict[str, Call] = {}
    arguments: dict[str, list[Shape | None]] = {}
    latest: list[tuple[str, Tensor]] = []  # the most recent result alone: more would keep all feature maps in memory

    def record_input(path: str, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        argument = first_tensor([*inputs, *named.values()])
        arguments.setdefault(path, []).append(None if argument is None else tuple(argument.shape))

    def record_output(path: str, output: Any) -> None:
        result = first_tensor(output)
        same = None
        if latest and latest[0][1] is result and latest[0][0].startswith(f"{path}."):
            same = latest[0][0]
        calls.pop(path, None)  # a module that is called again moves to the end
        calls[path] = Call(path, arguments[path].pop(), None if result is None else tuple(result.shape), same)
        latest[:] = [] if result is None else [(path, result)]

    # Under every name that a module has, so that any of them can be tapped.
    paths = [path for path, _ in module.named_modules(remove_duplicate=False) if path]
    try:
        with _untouched(module) as noise, contextlib.ExitStack() as hooks:
            for path in paths:
                submodule = module.get_submodule(path)
                before = submodule.register_forward_pre_hook(
                    lambda _, inputs, named, path=path: record_input(path, inputs, named), with_kwargs=True
                )
                after = submodule.register_forward_hook(lambda _, __, output, path=path: record_output(path, output))
                hooks.callback(before.remove)
                hooks.callback(after.remove)
            output = module(noise(BATCH, in_channels, *image))
    except Exception as error:  # other people's code, which may raise anything
        said = str(error).strip().split("\n")[0][:300]
        height, width = image
        raise UserError(
            f"{type(module).__name__} cannot take images with {counted(in_channels, 'channel')} of {height}x{width}: "
            f"it raised {type(error).__name__}: {said or 'without a message'}. Give images of the size and the "
            "channels that it is made for, or another network."
        ) from error
    return calls, output


def first_tensor(value: Any) -> Tensor | None:
    """A tensor, or the first of a tuple or list of them; None if that is no tensor."""
    if isinstance(value, (tuple, list)) and value:  # torch 2.5 cannot compile "tuple | list"
        value = value[0]
    return value if isinstance(value, Tensor) else None


@contextlib.contextmanager
def _untouched(module: nn.Module) -> Iterator[Callable[..., Tensor]]:
    """Restore modes, buffers and random states at the end. Yields ``torch.randn`` for the module's device and type."""
    weight = next((t for t in chain(module.parameters(), module.buffers()) if t.is_floating_point()), torch.empty(0))
    device = weight.device
    modes = [(submodule, submodule.training) for submodule in module.modules()]
    buffers = [
        (submodule, name, buffer, buffer.clone())
        for submodule in module.modules()
        for name, buffer in submodule.named_buffers(recurse=False)
    ]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            module.eval()
            yield partial(torch.randn, device=device, dtype=weight.dtype)
    finally:
        for submodule, training in modes:
            submodule.training = training
        with torch.no_grad():
            for submodule, name, buffer, content in buffers:
                setattr(submodule, name, buffer.copy_(content))
