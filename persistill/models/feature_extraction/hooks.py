"""Watches modules during one forward pass, and leaves nothing behind."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from persistill.models.feature_extraction.trace import first


class Seen(NamedTuple):
    """What was seen, filled during the forward pass; of a module that is called several times, the last call.

    Attributes:
        outputs: path -> result, or the first entry of several.
        inputs: path -> first argument.
    """

    outputs: dict[str, Tensor]
    inputs: dict[str, Tensor]


@contextlib.contextmanager
def watching(module: nn.Module, outputs: Sequence[str], inputs: Sequence[str]) -> Iterator[Seen]:
    """Watch results and arguments of modules inside ``module``, while this context lasts, in this thread.

    Hooks stand for one pass only: a module that was watched is the module that it was, for its owner, for copies of it
    and for an export. Another thread that uses the same module at the same time is not watched.

    Args:
        module: the network.
        outputs: paths of modules whose results are kept.
        inputs: paths of modules whose first arguments are kept.
    """
    seen, thread = Seen({}, {}), threading.get_ident()

    def left(path: str, output: Any) -> None:
        if threading.get_ident() == thread and (found := first(output)) is not None:
            seen.outputs[path] = found

    def entered(path: str, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if threading.get_ident() == thread and (found := first([*given, *named.values()])) is not None:
            seen.inputs[path] = found

    with contextlib.ExitStack() as hooks:
        for path in outputs:
            after = module.get_submodule(path).register_forward_hook(
                lambda _, __, output, path=path: left(path, output)
            )
            hooks.callback(after.remove)
        for path in inputs:
            before = module.get_submodule(path).register_forward_pre_hook(
                lambda _, given, named, path=path: entered(path, given, named), with_kwargs=True
            )
            hooks.callback(before.remove)
        yield seen
