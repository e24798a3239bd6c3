"""Captures inputs and outputs of modules by hooks, for one forward pass or for many."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from persistill.models.feature_extraction.trace import first_tensor


class Captured(NamedTuple):
    """What was captured, filled during the forward pass; of a module that is called several times, the last call.

    Attributes:
        outputs: path -> result, or the first entry of several.
        inputs: path -> first argument.
    """

    outputs: dict[str, Tensor]
    inputs: dict[str, Tensor]


@contextlib.contextmanager
def capture(module: nn.Module, outputs: Sequence[str], inputs: Sequence[str]) -> Iterator[Captured]:
    """Capture outputs and inputs of modules inside ``module``, while this context lasts, in this thread.

    Hooks are registered for this context only: afterwards the module is as before, for its owner, for copies and for an
    export. Forward passes of other threads through the same module are not captured.

    Args:
        module: the network.
        outputs: paths of modules whose results are kept.
        inputs: paths of modules whose first arguments are kept.
    """
    captured, thread = Captured({}, {}), threading.get_ident()

    def record_output(path: str, output: Any) -> None:
        if threading.get_ident() == thread and (tensor := first_tensor(output)) is not None:
            captured.outputs[path] = tensor

    def record_input(path: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if threading.get_ident() == thread and (tensor := first_tensor([*positional, *named.values()])) is not None:
            captured.inputs[path] = tensor

    with contextlib.ExitStack() as hooks:
        for path in outputs:
            after = module.get_submodule(path).register_forward_hook(
                lambda _, __, output, path=path: record_output(path, output)
            )
            hooks.callback(after.remove)
        for path in inputs:
            before = module.get_submodule(path).register_forward_pre_hook(
                lambda _, positional, named, path=path: record_input(path, positional, named), with_kwargs=True
            )
            hooks.callback(before.remove)
        yield captured


class KeptHooks:
    """The hooks of ``capture``, which stay for many forward passes, so that a compiler can trace what they do.

    They capture in every thread; ``take`` before and after a forward pass.

    Args:
        module: the network.
        outputs: paths of modules whose results are kept.
        inputs: paths of modules whose first arguments are kept.
    """

    def __init__(self, module: nn.Module, outputs: Sequence[str], inputs: Sequence[str]) -> None:
        self._captured = Captured({}, {})
        self._handles: list[RemovableHandle] = []
        for path in outputs:
            self._handles.append(module.get_submodule(path).register_forward_hook(partial(self._record_output, path)))
        for path in inputs:
            before = partial(self._record_input, path)
            self._handles.append(module.get_submodule(path).register_forward_pre_hook(before, with_kwargs=True))

    def take(self) -> Captured:
        """What was captured since this was called last."""
        captured, self._captured = self._captured, Captured({}, {})
        return captured

    def remove(self) -> None:
        """Leave the module as it was before."""
        for handle in self._handles:
            handle.remove()

    def _record_output(self, path: str, _module: nn.Module, _positional: tuple[Any, ...], output: Any) -> None:
        if (tensor := first_tensor(output)) is not None:
            self._captured.outputs[path] = tensor

    def _record_input(
        self, path: str, _module: nn.Module, positional: tuple[Any, ...], named: Mapping[str, Any]
    ) -> None:
        if (tensor := first_tensor([*positional, *named.values()])) is not None:
            self._captured.inputs[path] = tensor
