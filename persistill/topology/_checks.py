"""Checks of arguments that several functions share; each error names the argument, what it is and what is allowed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._numba.finite import all_finite

_SHOWN = 10**20
"""Integers below it are shown; Python refuses to write very long ones."""


def checked_dtype(array: Any, name: str, allowed: Sequence[str]) -> str:
    """The name of the dtype of an array or a tensor, without its byte order.

    Raises:
        TypeError: if it is neither, is masked or sparse or holds no numbers, or its dtype is not among those that are
            ``allowed``.
    """
    if not isinstance(array, np.ndarray | Tensor):
        raise TypeError(f"{name} must be a NumPy array or a torch tensor; got {type(array).__name__}.")
    refuse_masked(array, name)
    if isinstance(array, Tensor) and (array.is_meta or array.layout != torch.strided):
        kind = "has no data (device meta)" if array.is_meta else f"has the layout {array.layout}; give to_dense()"
        raise TypeError(f"{name} must be a plain tensor; it {kind}.")
    dtype = array.dtype.name if isinstance(array, np.ndarray) else str(array.dtype).removeprefix("torch.")
    if dtype not in allowed:
        raise TypeError(f"{name} must be {', '.join(allowed[:-1])} or {allowed[-1]}; got {dtype}.")
    return dtype


def refuse_masked(array: object, name: str) -> None:
    """Raise a TypeError for masked arrays: what lies below a mask would be read as if it were valid."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; replace what is masked, as by filled(), or leave it out.")


def on_cpu(array: NDArray[Any] | Tensor) -> NDArray[Any]:
    """The same numbers as a plain array in the memory of the CPU and in its byte order, without gradients."""
    data: NDArray[Any] = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    return data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("="))


def require_finite(data: NDArray[Any], name: str) -> None:
    """Raise a ValueError with the first index at which ``data`` holds a NaN or an infinity."""
    if data.dtype == np.uint8 or all_finite(data.reshape(-1, data.shape[-1])):
        return
    where = np.argwhere(~np.isfinite(data))[0].tolist()
    raise ValueError(f"{name}[{', '.join(map(str, where))}] is {data[tuple(where)]}; all values must be finite.")


def checked_flags(**flags: Any) -> None:
    """Raise a TypeError for a flag that is neither True nor False: kernels count on it being one of the two."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False; got {value!r}.")


_MOST = 2**31


def checked_count(name: str, value: Any) -> int:
    """An integer from 1 to 2^31 - 1, Python's or NumPy's.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is another one.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer; got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}.")
    if value >= _MOST:
        raise ValueError(f"{name} must be below {_MOST:,}; got {value if value < _SHOWN else 'a larger one'}.")
    return int(value)


def checked_number(
    name: str, value: Any, low: float = -math.inf, *, strict: bool = False, infinite: bool = False
) -> float:
    """A number, Python's or NumPy's, of at least ``low``, or above it where ``strict``; finite but where ``infinite``.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number; got {value!r}.")
    try:
        number = float(value)
    except OverflowError:  # of Python's integers, which have no largest one
        number = math.inf
    unbounded = number == math.inf and not infinite
    if math.isnan(number) or number == -math.inf or unbounded or number < low or (strict and number == low):
        bound = "" if low == -math.inf else f" and {'above' if strict else 'at least'} {low:g}"
        allowed = f"{low:g} or more" if infinite else f"finite{bound}"
        shown = value if isinstance(value, float | np.generic) or abs(value) < _SHOWN else "a larger one"
        raise ValueError(f"{name} must be {allowed}; got {shown}.")
    return number
