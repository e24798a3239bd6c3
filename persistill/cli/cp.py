"""`persistill cp`: a shipped recipe, to be edited."""

from pathlib import Path
from typing import Annotated

import typer

from persistill.api import recipe_files
from persistill.cli.console import console

SUMMARY = "Copy a recipe, to be edited."
EXAMPLES = ("persistill cp tgd_cifar10_small", "persistill cp tgd_digits my_recipe.py")


def cp(
    name: Annotated[str, typer.Argument(help="A shipped recipe (persistill ls).")],
    target: Annotated[Path, typer.Argument(help="A file or folder; nothing is overwritten.")] = Path(),
) -> None:
    """Copy a recipe, to be edited."""
    written = recipe_files.copy(name, target)
    console.print(f"Wrote {written}. Edit it, then: persistill check {written}")
