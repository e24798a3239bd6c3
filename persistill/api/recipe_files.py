"""Recipes as files: where the shipped ones lie, how one is read, copied and changed.

Finding, listing and copying need no torch; reading a recipe does.
"""

import ast
import runpy
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistill.errors import UserError, unknown

if TYPE_CHECKING:
    from persistill.config import Recipe

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped() -> dict[str, Path]:
    """Name -> file of the recipes that come with persistill."""
    folder = _PACKAGE / "recipes"
    if not folder.is_dir():  # a checkout keeps them beside the package, a wheel inside
        folder = _PACKAGE.parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}


def summary(path: Path) -> str:
    """The first line of a recipe's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def locate(given: str) -> Path:
    """A recipe's file by its path, or by the name of a shipped one.

    Raises:
        UserError: if it is neither, with the near names.
    """
    path = Path(given)
    if path.is_file():
        return path
    recipes = shipped()
    if given in recipes:
        return recipes[given]
    if path.is_dir():
        raise UserError(
            f"{given} is a folder, and a recipe is one file. Images in it are checked, and a distillation is "
            f"planned, by: persistill distill --data {shlex.quote(given)} --teacher NETWORK --student NETWORK --dry-run"
        )
    if path.suffix == ".py" and path.stem in recipes:
        return recipes[path.stem]
    raise unknown("recipe", given, recipes, "Or give the path of a recipe file.")


def read(given: str, changes: Mapping[str, Any] | None = None, *, small: bool = False, quick: bool = False) -> "Recipe":
    """Read a recipe, change some of its fields, and check all of it.

    Args:
        given: a path or a name; "FILE:NAME" for one of the recipes of a file that defines several.
        changes: as for ``changed``.
        small: take the recipe's small sibling, before the changes.
        quick: measure less (``Recipe.quick``), before the changes.

    Raises:
        UserError: with all problems at once, one a line.
    """
    file, colon, name = (given, "", "") if ":" not in given or Path(given).is_file() else given.rpartition(":")
    path = locate(file)
    recipes = defined(path)
    if not colon and len(recipes) > 1:
        known = ", ".join(f"{file}:{one}" for one in recipes)
        raise UserError(f"{path} defines {len(recipes)} recipes; name one of them: {known}.")
    if colon and name not in recipes:
        raise unknown(f"recipe in {path.name}:", name, recipes)
    recipe = recipes[name or next(iter(recipes))]
    return changed(recipe, changes or {}, small=small, quick=quick)


def changed(recipe: "Recipe", changes: Mapping[str, Any], *, small: bool = False, quick: bool = False) -> "Recipe":
    """A recipe with some fields changed.

    Args:
        recipe: the recipe.
        changes: field path -> value, or the text of one, as ``Settings.with_value`` takes them.
        small: take the recipe's small sibling, before the changes.
        quick: measure less, likewise.

    Raises:
        UserError: if a path leads nowhere or a value is not allowed there.
    """
    recipe = recipe.smaller() if small else recipe
    recipe = recipe.quick() if quick else recipe
    return recipe.with_values(changes)


def defined(path: Path) -> "dict[str, Recipe]":
    """The recipes of a file: its ``recipe`` under its own name, or all of its ``recipes``.

    Raises:
        UserError: with all problems of the file at once, or if it defines none.
    """
    from persistill.config import Recipe  # noqa: PLC0415 - torch is slow to import
    from persistill.settings import collecting  # noqa: PLC0415

    try:
        with collecting():
            names = runpy.run_path(str(path))
    except UserError as error:
        raise UserError(f"{path}:\n{error}") from None
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}.") from None
    except Exception as error:
        raise UserError(f"{path} stopped with {type(error).__name__}: {error}.") from error
    recipes = names.get("recipes", {"recipe": names.get("recipe")})
    if not isinstance(recipes, dict) or not recipes or not all(isinstance(r, Recipe) for r in recipes.values()):
        raise UserError(
            f"{path} defines no recipe: it must end with `recipe = Recipe(...)`, or with "
            "`recipes = {'one name': Recipe(...), ...}`."
        )
    return recipes


def copy(name: str, target: Path) -> Path:
    """Copy a shipped recipe to a file or folder; an existing file is never overwritten.

    Raises:
        UserError: if there is no such recipe, or the target exists.
    """
    source = locate(name)
    target = target / source.name if target.is_dir() else target
    if target.exists():
        raise UserError(f"{target} exists already and was not overwritten; give another name.")
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent}; make it first.")
    shutil.copyfile(source, target)
    return target
