"""The images of a recipe as they are printed: how many, from where, of which classes, and what is odd about them."""

from collections import defaultdict
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from persistill.data import Splits

_NAMED = 10
"""Classes whose names are printed."""


def images_table(splits: "Splits") -> Table:
    """A row each for the numbers of images, where they come from, their classes, and what is odd about them."""
    channels, height, width = splits.train.shape
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "Images",
        f"{len(splits.train):,} to train on, {len(splits.validation):,} to choose with, {len(splits.test):,} to test "
        f"on; {len(splits.classes)} classes; {height}x{width}, {'gray' if channels == 1 else 'color'}",
    )
    by_origin: defaultdict[str, list[str]] = defaultdict(list)
    for split, origin in splits.origins.items():
        by_origin[origin].append(split)
    for origin, names in by_origin.items():
        table.add_row("From", f"{origin}: {', '.join(names)}")
    more = ", ..." if len(splits.classes) > _NAMED else ""
    table.add_row("Classes", f"{', '.join(splits.classes[:_NAMED])}{more}")
    for note in splits.notes:
        table.add_row("Note", note)
    return table
