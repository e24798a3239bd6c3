"""One look at a foreign network at work: which modules are called, in which order, on tensors of which shapes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.models.feature_extraction.feature_layout import Size

BATCH = 2
"""Images in the probe. Not one, so that windows of an attention, stacked along the batch, are not taken for it."""

Shape = tuple[int, ...]


class Call(NamedTuple):
    """The last call of a module in one forward pass.

    Attributes:
        path: of the module.
        incoming: shape of its first argument, None if that is no tensor.
        outgoing: shape of its result, or of the first entry where it returns several; None if that is no tensor.
        passes_on: path of the module called inside it whose result it returns unchanged; None if it computes itself.
    """

    path: str
    incoming: Shape | None
    outgoing: Shape | None
    passes_on: str | None


def probe(module: nn.Module, in_channels: int, image: Size) -> tuple[dict[str, Call], Any]:
    """Send noise through a module, in evaluation mode, without gradients, and leave it as it was.

    Modes, buffers and random states are put back; what else a module changes in itself while it looks at an image
    (lazy layers take their shape, caches are filled) stays changed.

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
    latest: list[tuple[str, Tensor]] = []  # the one result seen last: keeping more would keep all maps in memory

    def entered(path: str, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        given = first([*inputs, *named.values()])
        arguments.setdefault(path, []).append(None if given is None else tuple(given.shape))

    def left(path: str, output: Any) -> None:
        found = first(output)
        same = None
        if latest and latest[0][1] is found and latest[0][0].startswith(f"{path}."):
            same = latest[0][0]
        calls.pop(path, None)  # a module that is called again moves to the end
        calls[path] = Call(path, arguments[path].pop(), None if found is None else tuple(found.shape), same)
        latest[:] = [] if found is None else [(path, found)]

    # Under every name that a module has, so that any of them can be tapped.
    paths = [path for path, _ in module.named_modules(remove_duplicate=False) if path]
    try:
        with _untouched(module) as noise, contextlib.ExitStack() as hooks:
            for path in paths:
                one = module.get_submodule(path)
                before = one.register_forward_pre_hook(
                    lambda _, inputs, named, path=path: entered(path, inputs, named), with_kwargs=True
                )
                after = one.register_forward_hook(lambda _, __, output, path=path: left(path, output))
                hooks.callback(before.remove)
                hooks.callback(after.remove)
            output = module(noise(BATCH, in_channels, *image))
    except Exception as error:  # a stranger's code, which may raise anything
        said = str(error).strip().split("\n")[0][:300]
        height, width = image
        raise UserError(
            f"{type(module).__name__} cannot take images with {in_channels} channel(s) of {height}x{width}: it "
            f"raised {type(error).__name__}: {said or 'without a message'}. Give images of the size and the channels "
            "that it is made for, or another network."
        ) from error
    return calls, output


def first(value: Any) -> Tensor | None:
    """A tensor, or the first of a tuple or list of them; None if that is no tensor."""
    if isinstance(value, tuple | list) and value:
        value = value[0]
    return value if isinstance(value, Tensor) else None


@contextlib.contextmanager
def _untouched(module: nn.Module) -> Iterator[Callable[..., Tensor]]:
    """Put modes, buffers and random states back at the end. Gives ``torch.randn`` for the module's device and type."""
    weight = next((t for t in chain(module.parameters(), module.buffers()) if t.is_floating_point()), torch.empty(0))
    device = weight.device
    modes = [(one, one.training) for one in module.modules()]
    buffers = [
        (one, name, buffer, buffer.clone())
        for one in module.modules()
        for name, buffer in one.named_buffers(recurse=False)
    ]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
            module.eval()
            yield partial(torch.randn, device=device, dtype=weight.dtype)
    finally:
        for one, training in modes:
            one.training = training
        with torch.no_grad():
            for one, name, buffer, content in buffers:
                setattr(one, name, buffer.copy_(content))
