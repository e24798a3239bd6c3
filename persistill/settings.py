"""Checked, frozen settings: the base class of everything that stands in a recipe.

A wrong field raises at once, as in any library. While a recipe file is read, problems are collected instead, so that
its author sees all of them together.
"""

import ast
import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from persistill.errors import UserError, unknown

SMALLEST, LARGEST = 1e-12, 1e12
"""Sizes of floating-point settings other than 0. Squares of them are float32 numbers still."""

_problems: ContextVar[list[str] | None] = ContextVar("problems", default=None)


class Settings(BaseModel):
    """Frozen settings with strict types. Subclasses declare fields, with ranges, as pydantic does.

    Raises:
        UserError: on construction, naming every field that is unknown, missing, of a wrong type or out of range.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = [_sentence(type(self), item) for item in error.errors()]
            collected = _problems.get()
            if collected is None:
                raise UserError("\n".join(problems)) from None
            collected.extend(problems)

    @field_validator("*", mode="after")
    @classmethod
    def _computable(cls, value: Any) -> Any:
        """Refuse numbers that a field allows and that 32-bit arithmetic, or a 64-bit seed, cannot hold."""
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and number and not SMALLEST <= abs(number) <= LARGEST:
                raise ValueError(f"must be 0, or from {SMALLEST:g} to {LARGEST:g} in size; {value!r} was given.")
            if isinstance(number, int) and abs(number) >= 2**63:
                raise ValueError(f"must be smaller than 2**63; {value!r} was given.")
        return value

    @classmethod
    def name_field(cls, field: str) -> str:
        """What to call a field, or with "" the whole, before what is wrong with it."""
        return f"{cls.__name__}.{field}" if field else cls.__name__

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values, with the class name under "is", for run folders and their hashes."""
        return {"is": _identity(type(self)), **{name: _plain(getattr(self, name)) for name in type(self).model_fields}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Settings from what ``to_json`` gave, for specs whose fields are plain values.

        Raises:
            UserError: if a field is unknown, missing, of a wrong type or out of range.
        """
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
        values.pop("is", None)
        return cls(**values)

    def with_value(self, path: str, value: Any) -> Self:
        """A copy with one field changed.

        Args:
            path: field names, keys and positions joined by dots: ``train.epochs``, ``arms.tgd.methods.0.alpha``.
            value: the new value, or the text of one as typed on a command line (``5``, ``0.1``, ``(1, 2)``, ``sgd``).

        Raises:
            UserError: if the path leads nowhere or the value is not allowed there.
        """
        changed = _replace(self, path.split("."), value, path)
        assert isinstance(changed, type(self))
        return changed

    def with_values(self, changes: Mapping[str, Any]) -> Self:
        """A copy with several fields changed, one after the other.

        Args:
            changes: field path -> value, as for ``with_value``.

        Raises:
            UserError: if a path leads nowhere or a value is not allowed there.
        """
        changed = self
        for path, value in changes.items():
            changed = changed.with_value(path, value)
        return changed


@contextlib.contextmanager
def collecting() -> Iterator[None]:
    """Collect the problems of all specs made inside, and raise them together at the end.

    Raises:
        UserError: with one line a problem.
    """
    problems: list[str] = []
    token = _problems.set(problems)
    try:
        yield
    except UserError as error:
        problems.append(str(error))
    except Exception:
        # A spec with problems is not whole, and code after it may trip over that: the problems are the cause.
        if not problems:
            raise
    finally:
        _problems.reset(token)
    if problems:
        raise UserError("\n".join(problems))


def _sentence(spec: type[Settings], item: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    given = item.get("input")
    if item["type"] == "extra_forbidden":
        return str(unknown(f"field of {spec.__name__}:", where, spec.model_fields))
    if item["type"] == "missing":
        return f"{spec.__name__} needs the field {where!r}, and none was given."
    if item["type"] == "value_error":
        name = spec.name_field(where)
        return f"{name}: {item['ctx']['error']}" if name else str(item["ctx"]["error"])
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{spec.name_field(where)}: {message}; {given!r} was given."


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, type) or inspect.isroutine(value):
        return {"is": _identity(value)}
    return value


def _identity(thing: Any) -> str:
    """The name of a class or function; with its module, unless it comes with the package or stands in a recipe file."""
    name, module = thing.__name__, thing.__module__ or ""
    return name if module.partition(".")[0] in ("persistill", "<run_path>", "__main__") else f"{module}:{name}"


def _replace(node: Any, path: list[str], value: Any, whole: str) -> Any:
    if not path:
        return _parsed(value, node)
    head, rest = path[0], path[1:]
    if isinstance(node, Settings):
        fields = {name: getattr(node, name) for name in type(node).model_fields}
        if head not in fields:
            raise unknown(f"field of {type(node).__name__} in {whole!r}:", head, fields)
        return type(node)(**{**fields, head: _replace(fields[head], rest, value, whole)})
    if isinstance(node, Mapping):
        if head not in node:
            raise unknown(f"name in {whole!r}:", head, node)
        return {**node, head: _replace(node[head], rest, value, whole)}
    if isinstance(node, tuple):
        if not head.isdigit() or int(head) >= len(node):
            raise unknown(f"position in {whole!r}:", head, [str(i) for i in range(len(node))])
        return tuple(_replace(item, rest, value, whole) if i == int(head) else item for i, item in enumerate(node))
    raise UserError(f"{whole!r} leads into a plain value ({node!r}) at {head!r}; end the path there.")


def _parsed(value: Any, old: Any) -> Any:
    if not isinstance(value, str) or (isinstance(old, str) and not value.startswith(("'", '"'))):
        return value
    words = {"true": True, "false": False, "none": None, "null": None}
    try:
        parsed = words[value.lower()] if value.lower() in words else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    if isinstance(parsed, list) or (isinstance(old, tuple) and not isinstance(parsed, tuple | str | None)):
        parsed = tuple(parsed) if isinstance(parsed, list) else (parsed,)
    return parsed
