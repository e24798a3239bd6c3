"""Checks of arguments that several functions share; each error names the argument, what it is and what is allowed."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.topology._numba.finite import all_finite


def require_finite(data: NDArray[Any], name: str) -> None:
    """Raise a ValueError with the first index at which ``data`` holds a NaN or an infinity."""
    if data.dtype == np.uint8 or all_finite(data.reshape(-1, data.shape[-1])):
        return
    where = np.argwhere(~np.isfinite(data))[0].tolist()
    raise ValueError(f"{name}[{', '.join(map(str, where))}] is {data[tuple(where)]}; all values must be finite.")


def checked_count(name: str, value: int) -> int:
    """An integer of at least 1.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer; got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}.")
    return value


def checked_number(name: str, value: float, low: float, *, strict: bool = False) -> float:
    """A finite number of at least ``low``, or above it where ``strict``.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number; got {value!r}.")
    if not math.isfinite(value) or value < low or (strict and value == low):
        raise ValueError(f"{name} must be finite and {'above' if strict else 'at least'} {low:g}; got {value}.")
    return value
