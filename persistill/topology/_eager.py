"""Lets ``torch.compile`` step over functions that it cannot trace."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def eager(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Decorate a function that NumPy or compiled kernels work in: compiled callers break their graph around it.

    The same as ``torch.compiler.disable``, which however imports the compiler where nothing is compiled.
    """

    @functools.wraps(function)
    def stepped_over(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if torch.compiler.is_compiling():
            return _call_eagerly(function, args, kwargs)
        return function(*args, **kwargs)

    return stepped_over


def _call_eagerly(function: Callable[..., Result], args: Any, kwargs: Any) -> Result:
    disabled: Any = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    result: Result = disabled(*args, **kwargs)
    return result


# What ``torch.compiler.disable`` marks its wrappers with: the tracer does not look inside, and the graph ends here.
setattr(_call_eagerly, "_torchdynamo_disable", True)  # noqa: B010  (mypy knows no attributes of functions)
