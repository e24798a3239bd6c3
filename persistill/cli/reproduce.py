"""`persistill reproduce`: a published row, and ours beside it."""

from typing import Annotated

import typer

from persistill.cli.console import console, quiet_start
from persistill.cli.options import Changes, Device, Out, Seeds, Small
from persistill.cli.run import run_named
from persistill.errors import unknown
from persistill.utils.process_place import find_place

SUMMARY = "Run a published row, and print ours beside it."
EXAMPLES = ("persistill reproduce", "persistill reproduce tgd_cifar10_published --small --seeds 0")


def reproduce(
    name: Annotated[str | None, typer.Argument(help="A row's name; without one, all rows are listed.")] = None,
    out: Out = "runs",
    device: Device = "auto",
    seeds: Seeds = None,
    changes: Changes = None,
    small: Small = False,
) -> None:
    """Run a published row with its seeds, and print our figures beside the published ones.

    Ours are of the last epoch, test images read once; how the published epoch was chosen, and what else differs
    between the two protocols, is printed below. Most rows want a GPU and hours; --small shows that a row runs.
    """
    with quiet_start():
        from persistill.cli import published_rows  # noqa: PLC0415 - torch is slow to import
    known = published_rows.rows()
    if name is None:
        published_rows.print_rows(console, known)
        return
    if name not in known:
        raise unknown("published row", name, known, "persistill reproduce lists them.")
    result = run_named(name, f"persistill reproduce {name}", out, device, seeds, changes, small=small)
    assert result is not None
    place = find_place()
    if place is None or place.rank == 0:  # the first rank says all that is to be said
        published_rows.print_beside(console, result.comparison, small=small)
