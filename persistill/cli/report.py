"""`persistill report`: a comparison's report, again or for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from persistill.cli.console import console, quiet_start
from persistill.cli.options import folder
from persistill.errors import UserError
from persistill.storage import is_url, local_copy

SUMMARY = "Write the HTML report of a comparison again; tables and figures for a paper."
EXAMPLES = (
    "persistill report runs/comparison-tgd_digits-0123456789ab --out report.html",
    "persistill report runs/comparison-tgd_digits-0123456789ab --paper paper",
)


def write_report(
    comparison: Annotated[str, typer.Argument(help="A comparison's run folder, or its URL.")],
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="The file; by default report.html in that folder.")
    ] = None,
    paper: Annotated[
        Path | None,
        typer.Option(
            callback=folder,
            help="Also write tables (Markdown, LaTeX), figures (SVG, PNG) and model cards into this folder.",
        ),
    ] = None,
) -> None:
    """Write the HTML report of a comparison again, from its run folders alone."""
    with quiet_start():
        from persistill import report  # noqa: PLC0415 - matplotlib is slow to import
    read, _ = local_copy(comparison)
    if output is None and is_url(comparison):
        raise UserError(f"{comparison} lies at a URL: name a file of this machine for the report, with --out.")
    console.print(f"Wrote {report.write(read, output)}")
    if paper is not None:
        written = report.write_paper(report.read(read), paper)
        console.print(f"Wrote {written / 'tables'}, {written / 'figures'} and {written / 'cards'}")
