"""A recipe as the Python file that would make it: what is not a default, laid out to be read and edited."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from persistill.config import Recipe
from persistill.settings import Settings

_WIDTH = 120


def as_python(recipe: Recipe, docstring: str) -> str:
    """The text of a recipe file that defines ``recipe``.

    Args:
        recipe: what it defines. Fields that have their default value are left out.
        docstring: the file's; its first line is what ``persistill ls`` would show.
    """
    imports = "\n".join(
        f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(_imports(recipe).items())
    )
    said = docstring.strip().replace("\\", "\\\\")
    if '"""' in said or said.endswith('"'):
        said = said.replace('"', '\\"')
    ending = "\n" if "\n" in said else ""
    return f'"""{said}{ending}"""\n\n{imports}\n\nrecipe = {_text(recipe, 0, len("recipe = "))}\n'


def _imports(value: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    if isinstance(value, Settings):
        found[_home(type(value))] = {type(value).__name__}
        children: Iterable[Any] = _stated(value).values()
    elif isinstance(value, Mapping):
        children = value.values()
    else:
        children = value if isinstance(value, tuple) else ()
    for child in children:
        for module, names in _imports(child).items():
            found.setdefault(module, set()).update(names)
    return found


def _home(spec: type[Settings]) -> str:
    """The module to import a class from: the outermost package that offers it."""
    parts = spec.__module__.split(".")
    packages = (".".join(parts[:length]) for length in range(2, len(parts) + 1))
    return next(name for name in packages if getattr(sys.modules[name], spec.__name__, None) is spec)


def _stated(spec: Settings) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    return {
        name: getattr(spec, name)
        for name, field in type(spec).model_fields.items()
        if getattr(spec, name) != field.get_default(call_default_factory=True)
    }


def _text(value: Any, depth: int, before: int) -> str:
    """Source text of a value, on one line if that fits.

    Args:
        value: a spec, mapping, tuple or plain value.
        depth: of indentation.
        before: characters on the line in front of it.
    """
    brackets, items = _items(value)
    if not brackets:
        return _plain(value)
    flat = [key + _text(item, 0, 0) for key, item in items]
    comma = "," if isinstance(value, tuple) and len(flat) == 1 else ""
    line = f"{brackets[0]}{', '.join(flat)}{comma}{brackets[1]}"
    # One character for the comma behind it.
    if "\n" not in line and before + len(line) + 1 <= _WIDTH:
        return line
    inner = "    " * (depth + 1)
    lines = [f"{inner}{key}{_text(item, depth + 1, len(inner) + len(key))}," for key, item in items]
    return "\n".join([brackets[0], *lines, "    " * depth + brackets[1]])


def _items(value: Any) -> tuple[tuple[str, str] | None, list[tuple[str, Any]]]:
    """Brackets, and what stands between them, each with the text in front of it."""
    if isinstance(value, Settings):
        return (f"{type(value).__name__}(", ")"), [(f"{name}=", item) for name, item in _stated(value).items()]
    if isinstance(value, Mapping):
        return ("{", "}"), [(f"{_plain(name)}: ", item) for name, item in value.items()]
    if isinstance(value, tuple):
        return ("(", ")"), [("", item) for item in value]
    return None, []


def _plain(value: Any) -> str:
    if isinstance(value, str):
        text = repr(value)
        inner = text[1:-1]
        return text if text[0] == '"' or '"' in inner else f'"{inner}"'
    return repr(value)
