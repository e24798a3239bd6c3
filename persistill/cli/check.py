"""`persistill check`: what does not fit in a recipe or a folder of images, without training."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from persistill.api import recipe_files
from persistill.cli.console import console, quiet_start
from persistill.cli.options import Changes, Device, Out, Small, parse_changes
from persistill.errors import UserError
from persistill.utils.remote_filesystem import is_url
from persistill.utils.units import counted

SUMMARY = "Check a recipe against its data without training."
EXAMPLES = ("persistill check my_recipe.py", "persistill check images")


def check(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, the name of a shipped one, or images: a folder or a URL.")
    ],
    out: Out = "runs",
    device: Device = "auto",
    changes: Changes = None,
    small: Small = False,
) -> None:
    """Check a recipe without training: its fields, its data, and whether networks, views and methods fit together.

    Given a folder or a URL of images, check these alone, as persistill distill would read them.
    """
    if is_url(recipe) or (Path(recipe).is_dir() and recipe not in recipe_files.shipped()):
        if changes or small:
            raise UserError(
                f"--set and --small change a recipe, and {recipe} names images. Leave them out, or plan a distillation "
                f"with them: persistill distill --data {shlex.quote(recipe)}."
            )
        with quiet_start():
            from persistill.cli.check_folder import check_folder  # noqa: PLC0415 - torch is slow to import
        check_folder(recipe)
        return
    with quiet_start():
        from persistill.cli import run_recipe  # noqa: PLC0415 - torch is slow to import
    notes = run_recipe.check(recipe_files.read(recipe, parse_changes(changes), small=small), out, device)
    said = f"it can run; read the {counted(notes, 'note')} on its images above" if notes else "no problem found"
    console.print(f"{recipe}: {said}.")
