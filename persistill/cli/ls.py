"""`persistill ls`: recipes and runs."""

from pathlib import Path

from rich.table import Table

from persistill import run_folder
from persistill.api import recipe_files
from persistill.cli.console import console
from persistill.cli.options import Out
from persistill.cli.runs_table import runs_table
from persistill.storage import small_files
from persistill.utils.units import counted

SUMMARY = "List recipes and runs."
EXAMPLES = ("persistill ls", "persistill ls --out runs")


def ls(out: Out = "runs") -> None:
    """List the recipes that come with persistill, and the runs below a folder or a URL.

    Of each run folder: when it was made, what its network reaches on the test images, whether it is complete, and
    whether it is the student that is exported.
    """
    table = Table("Recipe", "What it does", box=None, header_style="bold")
    for name, path in recipe_files.shipped().items():
        table.add_row(name, recipe_files.summary(path))
    console.print(table)
    with small_files(out) as place:
        _list_runs(place)


def _list_runs(place: Path) -> None:
    readable, others = run_folder.scan(place)
    if readable:
        title, *rows = runs_table(readable)
        console.print()
        console.print(title, style="bold", soft_wrap=True, markup=False)
        for row in rows:
            console.print(row, soft_wrap=True, markup=False, highlight=False)
    if others:
        names = ", ".join(path.name for path in others[:3]) + (", ..." if len(others) > 3 else "")
        console.print(
            f"Passed over {counted(len(others), 'run folder')} of another version of persistill, or damaged: {names}",
            soft_wrap=True,
        )
