"""What is typed for `persistill topology`, read."""

from collections.abc import Callable
from typing import Any, TypeVar

from persistill.errors import UserError, unknown
from persistill.topology.persistence_image import fields

PIXELS = "x".join(map(str, fields.PIXELS.default))
WINDOW = ",".join(f"{bound:g}" for bound in fields.BIRTHS.default)
ALL_SCANS = ",".join(fields.SCANS.default)

Value = TypeVar("Value")


def refuse(options: dict[str, Any], why: str) -> None:
    """Raise a UserError if one of the options, by their names in Python, was given."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UserError(f"{option(given[0])} {why}.")


def option(name: str) -> str:
    """What an option is called, from its name in Python."""
    return f"--{name.replace('_', '-')}"


def parsed(name: str, text: str | None, parse: Callable[[str], Value]) -> Value | None:
    """What was typed for an option; None where nothing was.

    Raises:
        UserError: if ``parse`` raises a ValueError.
    """
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        form = {"--pixels": f"{PIXELS} (rows x columns)", "--levels": "0,1,64 (first, last, number)"}
        raise UserError(f"{name} {text!r} is not of the form {form.get(name, f'{WINDOW} (low, high)')}.") from None


def pixels(text: str) -> tuple[int, int]:
    """Rows and columns, from "50x50" or "50"."""
    rows, columns = text.lower().split("x") if "x" in text.lower() else (text, text)
    return int(rows), int(columns)


def pair(text: str) -> tuple[float, float]:
    """Low and high, from "0,0.3"."""
    low, high = map(float, text.split(","))
    return low, high


def levels(text: str) -> tuple[float, float, int]:
    """First, last and number, from "0,1,64".

    Raises:
        ValueError: if these are not finite, rising, and at least two levels.
    """
    first, last, number = text.split(",")
    low, high, count = float(first), float(last), int(number)
    if not (-float("inf") < low < high < float("inf")) or count < 2:
        raise ValueError
    return low, high, count


def scans(text: str) -> tuple[Any, ...]:
    """Scans, from "rows,columns".

    Raises:
        UserError: if one is unknown or named twice.
    """
    scans = tuple(part.strip() for part in text.split(","))
    for scan in scans:
        if scan not in fields.SCANS.choices:
            raise unknown("scan", scan, fields.SCANS.choices)
    if len(set(scans)) < len(scans):
        raise UserError(f"--scans {text} names a scan twice.")
    return scans
