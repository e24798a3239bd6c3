"""Networks through ``torch.compile``, for as long as they are trained or teach.

A network stays what it is: what is asked in its place has its weights and modes, and is forgotten afterwards. So files
have the names that they always have, and a network is measured without.

Shapes are compiled as they are, one after another, and not as variables: batches of a training have few sizes, and a
training that goes on in another process compiles what it compiled before.
"""

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from persistill.config import Train
from persistill.errors import UserError
from persistill.models import AdaptedNetwork, Detector
from persistill.ranks import Ranks, holds_parts
from persistill.structures import ModelOutput
from persistill.training.teachers import OnlineTeacher, TeacherCallable

_GRAPHS = 64
"""That may be compiled of one function. torch's own limit is 8, behind which it computes as without: so many come of a
student and three teachers of one library, which have a ``forward`` in common, with two sizes of batches each."""

_COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch")
"""Packages whose errors say that something could not be compiled."""

_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


@contextlib.contextmanager
def without_compilation() -> Iterator[None]:
    """Have trainings inside compile nothing, whatever their settings say: compiled layers cannot be watched."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


class Compilation:
    """What ``Train.compile`` says, carried out for one training; a context, inside which the networks are asked.

    Args:
        settings: of the training.
        ranks: the processes that train together.
        device: of the training.

    Raises:
        UserError: if several devices cannot do that. On leaving the context as well: if torch has no compiler here, or
            could not compile a network.
    """

    def __init__(self, settings: Train, ranks: Ranks, device: torch.device) -> None:
        self._mode, self._stack = "off" if _PLAIN.get() else settings.compile, contextlib.ExitStack()
        self._networks: list[nn.Module] = []
        self._graphs = device.type == "cuda" and self._mode in ("reduce-overhead", "max-autotune")
        if self._mode != "off" and ranks.size > 1 and settings.sync_batchnorm:
            raise UserError(
                f"train.compile={self._mode} on several devices normalizes each device's images by themselves, for "
                "compiled networks cannot wait for each other inside a BatchNorm. Set train.sync_batchnorm=False, if "
                "that is wanted, or leave train.compile out."
            )

    def of(self, network: nn.Module) -> nn.Module:
        """What is to be asked in place of a network, in its mode; itself, if nothing is compiled.

        Raises:
            UserError: if it is a detector, or if this torch cannot compile.
        """
        if self._mode == "off":
            return network
        if any(isinstance(module, Detector) for module in network.modules()):
            raise UserError(
                f"train.compile={self._mode}: detectors compute with objects whose number differs from image to image, "
                "and are not compiled; leave it out."
            )
        self._networks.append(network)
        try:
            return _Compiled(torch.compile(network, mode=self._mode, dynamic=False), copies=self._graphs)
        except RuntimeError as error:
            raise self._told(error) from error

    def of_teachers(self, teachers: Sequence[TeacherCallable]) -> list[TeacherCallable]:
        """What is to be asked in place of teachers; those that are read, or held in parts, stay as they are."""
        return [
            OnlineTeacher(one.network, one.view, asked=self.of(one.network))
            if isinstance(one, OnlineTeacher) and one.network is not None and not holds_parts(one.network)
            else one
            for one in teachers
        ]

    def begin_step(self) -> None:
        """Say that a step begins, which needs nothing of earlier ones."""
        if self._graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        if self._networks:
            self._stack.enter_context(torch._dynamo.config.patch(cache_size_limit=_GRAPHS))  # noqa: SLF001 - documented
        modules = dict.fromkeys(module for network in self._networks for module in network.modules())
        for module in modules:
            if isinstance(module, AdaptedNetwork):
                self._stack.enter_context(module.keep_hooks())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if self._networks:
            torch.compiler.reset()
        if error is not None and type(error).__module__.startswith(_COMPILER):
            raise self._told(error) from error

    def _told(self, error: BaseException) -> UserError:
        return UserError(
            f"train.compile={self._mode}: torch.compile failed ({_reason(error)}). On a CPU it needs a C++ compiler, "
            "g++ or clang++, and the headers of Python (python3-dev); on an NVIDIA GPU Triton (pip install triton) and "
            "a C compiler. If they are there, the network cannot be compiled: leave train.compile out."
        )


class _Compiled(nn.Module):
    """A compiled network.

    Args:
        compiled: what ``torch.compile`` made of it.
        copies: whether its answers are copied, as those of CUDA graphs must be: the next answer takes their memory.
    """

    def __init__(self, compiled: Any, *, copies: bool) -> None:
        super().__init__()
        self.compiled = compiled
        self._copies = copies

    def forward(self, images: torch.Tensor) -> ModelOutput:
        output: ModelOutput = self.compiled(images)
        return output.map(lambda _, rows: rows.clone()) if self._copies else output


def _reason(error: BaseException) -> str:
    """The line of a compiler's many that says most."""
    error = getattr(error, "inner_exception", error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["without a message"]
    said = next((line for line in lines if "error:" in line), lines[0])
    return f"{type(error).__name__}: {said[:300]}"
