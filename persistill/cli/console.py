"""What all commands print with."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from persistill.api.text_console import text_console

if TYPE_CHECKING:
    from persistill import report

console = text_console(width=None if sys.stdout.isatty() else 160)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Show that something happens while torch is imported."""
    with console.status("starting"):
        yield


def in_columns(table: "report.Table") -> Table:
    """A table of text for the terminal."""
    drawn = Table(box=None, header_style="bold")
    for position, title in enumerate(table.header):
        drawn.add_column(title, justify="left" if table.words or position == 0 else "right")
    for row in table.rows:
        drawn.add_row(*row)
    return drawn
