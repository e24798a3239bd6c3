"""What a sweep varies, as it is typed: ``log(0.01, 0.3)``, ``uniform(0, 1)``, ``int(1, 9)``, ``choice(a, b)``."""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from persistill.config import Recipe
from persistill.errors import UserError, unknown

Value = float | int | str
"""Of a field in a trial; a choice is kept as it is typed for ``--set``."""
Kind = Literal["log", "uniform", "int", "logint", "choice"]
_KINDS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
_EXAMPLE = "write --over train.lr='log(0.01, 0.3)', or uniform(0, 1), int(1, 9), logint(8, 256), choice(sgd, adamw)"


@dataclass(frozen=True)
class Dimension:
    """The values that a field may take.

    Attributes:
        kind: "log" and "uniform" are numbers from ``low`` to ``high``, evenly spread after a logarithm or as they are;
            "logint" and "int" are whole ones; a "choice" is one of ``options``.
        low: the least, which is allowed; 0 for a choice.
        high: the largest, likewise.
        options: texts, as they are typed for ``--set``.
    """

    kind: Kind
    low: float = 0.0
    high: float = 0.0
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        inside = self.options if self.kind == "choice" else (f"{self.low:g}", f"{self.high:g}")
        return f"{self.kind}({', '.join(inside)})"

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values which a recipe must take if it is to take all."""
        if self.kind == "choice":
            return self.options
        return (int(self.low), int(self.high)) if self.kind in ("int", "logint") else (self.low, self.high)

    def share(self, value: Value) -> float:
        """Where a value lies between the ends, from 0 to 1."""
        if self.kind == "choice":
            return self.options.index(str(value)) / max(1, len(self.options) - 1)
        number, low, high = float(value), self.low, self.high
        if self.kind in ("log", "logint"):
            number, low, high = math.log(number), math.log(low), math.log(high)
        return (number - low) / (high - low)


Space = Mapping[str, Dimension]
"""Field path -> its values."""


def parse_over(texts: Sequence[str]) -> dict[str, Dimension]:
    """What to vary, from "field=values" each.

    Raises:
        UserError: if one cannot be read.
    """
    found: dict[str, Dimension] = {}
    for text in texts:
        field, equals, values = text.partition("=")
        if not equals or not field.strip():
            raise UserError(f"--over {text!r} is no FIELD=VALUES: {_EXAMPLE}.")
        if field.strip() in found:
            raise UserError(f"--over names {field.strip()} twice: give all of its values in one.")
        found[field.strip()] = parse_dimension(field.strip(), values)
    return found


def parse_dimension(field: str, given: str | Sequence[object]) -> Dimension:
    """The values of a field.

    Args:
        field: its path, for messages.
        given: as it is typed; or the choices themselves.

    Raises:
        UserError: if it cannot be read.
    """
    if not isinstance(given, str):
        return _choice(field, [one if isinstance(one, str) else repr(one) for one in given])
    match = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", given, re.DOTALL)
    if match is None:
        raise UserError(f"--over {field}={given!r} is no range and no choice: {_EXAMPLE}.")
    kind, inside = match[1], _parts(match[2])
    if kind == "choice":
        return _choice(field, inside)
    if kind not in _KINDS:
        raise unknown(f"kind of values in --over {field}:", kind, _KINDS, f"For example: {_EXAMPLE}.")
    if len(inside) != 2:
        raise UserError(f"--over {field}={given!r}: {kind}(...) takes two numbers, the least and the largest.")
    low, high = (_number(field, given, text, whole=kind.endswith("int")) for text in inside)
    if not low < high:
        raise UserError(f"--over {field}={given!r}: the first number is the least, and must be smaller than the other.")
    if kind.startswith("log") and low <= 0:
        raise UserError(f"--over {field}={given!r}: {kind}(...) needs numbers above 0; {inside[0]} was given.")
    return Dimension(_KINDS[kind], low, high)


def check_space(recipe: Recipe, space: Space) -> None:
    """See whether a recipe takes what a sweep will give it.

    Raises:
        UserError: if a field does not exist, or does not take one of its values.
    """
    if not space:
        raise UserError(f"a sweep needs something to vary: {_EXAMPLE}.")
    for field, dimension in space.items():
        for value in dimension.ends:
            recipe.with_value(field, value)


def _choice(field: str, options: Sequence[str]) -> Dimension:
    if len(options) < 2 or len(set(options)) < len(options):
        raise UserError(f"--over {field}: choice(...) takes two or more different values; {list(options)} was given.")
    return Dimension("choice", options=tuple(options))


def _number(field: str, given: str, text: str, *, whole: bool) -> float:
    try:
        number = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        number = None
    if isinstance(number, bool) or not isinstance(number, int if whole else int | float) or not abs(number) < 1e12:
        raise UserError(f"--over {field}={given!r}: {text!r} is no {'whole ' if whole else ''}number.")
    return float(number)


def _parts(text: str) -> list[str]:
    """Split at commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]
