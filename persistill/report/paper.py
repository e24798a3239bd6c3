"""Tables, figures and model cards as files: for papers, for READMEs and for the Hub."""

import re
from collections.abc import Iterator
from pathlib import Path

from persistill.report.card import model_card
from persistill.report.comparison import Comparison
from persistill.report.figure import Section
from persistill.report.latex import as_latex
from persistill.report.matplotlib_backend import draw
from persistill.report.sections import sections_of
from persistill.report.table import Table, as_markdown, overview
from persistill.utils.atomic_io import atomic

_KINDS = ("svg", "png")


def write_paper(comparison: Comparison, folder: Path) -> Path:
    """Write every table and every plot of the page as files of their own, and a model card for each arm.

    Args:
        comparison: as read from its folder.
        folder: made if it is not there. It receives ``tables/*.md`` and ``*.tex`` (for booktabs), ``figures/*.svg`` and
            ``*.png``, and ``cards/*.md``; files of the same names are replaced, each whole.

    Returns:
        ``folder``.
    """
    sections = [part for part in sections_of(comparison) if isinstance(part, Section)]
    for name, table in _tables(comparison, sections):
        _write(folder / "tables" / f"{name}.md", f"{as_markdown(table)}\n\n{table.caption}\n".encode())
        _write(folder / "tables" / f"{name}.tex", as_latex(table).encode())
    for section in sections:
        for figure in section.figures:
            chosen = any("choice" in trace for trace in figure.traces)
            for choice in range(len(section.choices)) if chosen else (None,):
                name = figure.name.removesuffix("-plot") + ("" if choice is None else f"-{choice + 1}")
                for kind in _KINDS:
                    _write(folder / "figures" / f"{name}.{kind}", draw(section, figure, kind, choice))
    for arm in comparison.arms:
        if arm.runs:
            _write(folder / "cards" / f"{_file_name(arm.name)}.md", model_card(comparison, arm.name).encode())
    return folder


def _tables(comparison: Comparison, sections: list[Section]) -> Iterator[tuple[str, Table]]:
    """Each with a name for its file."""
    yield "overview", overview(comparison)
    for section in sections:
        for figure in section.figures:
            yield from _numbered(figure.name.removesuffix("-plot"), (*figure.tables, *figure.chosen))
        yield from _numbered(f"{section.name}-table", section.tables)


def _numbered(name: str, tables: tuple[Table, ...]) -> Iterator[tuple[str, Table]]:
    for number, table in enumerate(tables, 1):
        yield (name if len(tables) == 1 else f"{name}-{number}"), table


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "arm"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_bytes(content)
