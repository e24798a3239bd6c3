"""JSON as it may come from anybody: what only Python reads as JSON, and what breaks its readers later, is refused."""

import json
import math
from typing import Any, NoReturn

_DEEPEST = 64
"""Levels of lists and objects; run folders have about ten."""
_LARGEST = 2**63
"""Whole numbers below it in size are read."""


def decode_json(content: bytes | str) -> Any:
    """Parse JSON: UTF-8, finite numbers, whole ones of 64 bits, at most 64 levels, text that can be printed.

    Raises:
        ValueError: with the reason in words, for a sentence to go on with.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels") from None
    if text.count("[") + text.count("{") > _DEEPEST or "\\" in text:
        _look_through(found)
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) >= _LARGEST:
        raise ValueError(f"{text[:20]}{'...' if len(text) > 20 else ''} is too large for a whole number")
    return value


def _look_through(found: Any) -> None:
    """Go through all values, level by level: depth is counted, and half characters in texts are refused."""
    level = [found]
    for _ in range(_DEEPEST + 1):
        inside: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inside += [*value, *value.values()]
            elif isinstance(value, list):
                inside += value
            elif isinstance(value, str):
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise ValueError(f"{value[:20]!r} holds half a character") from None
        if not inside:
            return
        level = inside
    raise ValueError(f"it is nested deeper than {_DEEPEST} levels")
