"""One self-contained HTML page: readable without network, on a laptop, a phone and on paper."""

from contextlib import nullcontext
from pathlib import Path

from persistill.errors import UserError
from persistill.report.comparison import Comparison, read
from persistill.report.decision import decide
from persistill.report.figure import Section, marks
from persistill.report.sections import sections_of
from persistill.report.sections.decision import with_decision
from persistill.report.table import headline, overview, units
from persistill.report.web_page import rendered
from persistill.run_folder import locked
from persistill.utils.atomic_io import atomic, sweep


def write(folder: Path, output: Path | None = None) -> Path:
    """Write a comparison's page.

    Args:
        folder: the comparison's run folder; the folders that it names lie beside it.
        output: the file to write; None for ``report.html`` in ``folder``. It is replaced whole.

    Returns:
        The file.

    Raises:
        UserError: if ``folder`` holds no finished comparison, or ``output`` cannot be a file.
    """
    if output is not None and output.is_dir():
        raise UserError(f"--out {output} is a folder, and the report is one file: {output / 'report.html'}")
    if output is not None and not output.absolute().parent.is_dir():
        raise UserError(f"--out {output}: there is no folder {output.parent}. Make it first, or give another name.")
    text = render(read(folder))
    path = folder / "report.html" if output is None else output
    with locked(folder) if output is None else nullcontext():
        if output is None:
            sweep(folder)
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


def render(comparison: Comparison) -> str:
    """The page as text. Everything that comes from recipes and data is escaped, and no script of theirs may run."""
    decision = decide(comparison)
    first, *parts = with_decision(decision, sections_of(comparison))
    return rendered(
        "page.html",
        comparison=comparison,
        decision=decision,
        section=first,
        headline=headline(comparison),
        overview=overview(comparison),
        units=units(comparison),
        marks={mark.label: mark for mark in marks(comparison)},
        sections=[part for part in parts if isinstance(part, Section)],
        absent=[part for part in parts if isinstance(part, str)],
    )
