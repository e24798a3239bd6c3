"""The command that runs a published row and prints ours beside it."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from persistill import report
from persistill.api import recipe_files
from persistill.config import Recipe


def rows() -> dict[str, Recipe]:
    """The name by which ``persistill reproduce`` knows it -> recipe, of all that name a publication."""
    found = {}
    for name, path in recipe_files.shipped().items():
        defined = recipe_files.defined(path)
        for part, recipe in defined.items():
            if recipe.published:
                found[name if len(defined) == 1 else f"{name}:{part}"] = recipe
    return found


def print_rows(console: Console, known: dict[str, Recipe]) -> None:
    """What can be reproduced, with its published figures."""
    table = Table("Name", "Published, %", "Source", box=None, header_style="bold")
    for name, recipe in known.items():
        for entry in recipe.published:
            figures = ", ".join(f"{arm} {100 * value:.2f}" for arm, value in entry.figures.items())
            table.add_row(name, figures, entry.source)
    console.print(table)


def print_beside(console: Console, comparison: report.Comparison, *, small: bool) -> None:
    """Ours beside the published figures, and what keeps them apart."""
    for shown in report.published(comparison):
        _print(console, shown.caption, shown.header, shown.rows)
    if small:
        console.print(
            "This was the small sibling of the recipe: fewer images, epochs or smaller networks. It shows that the "
            "row runs and in which direction things move; its figures are not to be set against the published ones.",
            style="bold",
        )
    for sentence in report.differences(comparison):
        console.print(f"- {sentence}")


def _print(console: Console, caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, header_style="bold")
    for position, title in enumerate(header):
        table.add_column(title, justify="right" if position else "left")
    for row in rows:
        table.add_row(*row)
    console.print()
    console.print(caption)
    console.print(table)
