"""What a section of the page is made of: figures, their keys, and the marks by which networks are told apart."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from persistill.report.comparison import Comparison
from persistill.report.table import Table

# Colors are names of the style sheet, so that plots follow the theme: seven hues of Okabe and Ito (2008), which
# color-blind readers tell apart, the first of them black. Dash and marker differ too: nothing hangs on color alone.
_HUES = 7
_DASHES = ("", "7 3", "2 3", "8 3 2 3", "12 4")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star")
_CLASS_SYMBOLS = (*_SYMBOLS, "triangle-left", "triangle-right")
CLASS_MARKS = len(_CLASS_SYMBOLS)
"""Classes that can be told apart by symbol and by color."""


@dataclass(frozen=True)
class Mark:
    """How one network looks in every figure.

    Attributes:
        label: its name.
        color: a variable of the style sheet.
        dash: lengths of strokes and gaps in pixels, as SVG has them; empty for a solid line, None for no line.
        symbol: plotly's name of the marker; hollow ("-open") for teachers.
        on: whether plots show it before anybody asks. Teachers wait: they would stretch the axes on which
            students are to be compared.
    """

    label: str
    color: str
    dash: str | None
    symbol: str
    on: bool

    @property
    def line(self) -> dict[str, Any]:
        """The line, for plotly."""
        dash = ",".join(f"{part}px" for part in (self.dash or "").split()) or "solid"
        return {"color": self.color, "dash": dash, "width": 2}

    @property
    def marker(self) -> dict[str, Any]:
        """The marker, for plotly."""
        return {"color": self.color, "symbol": self.symbol, "size": 8, "line": {"color": self.color, "width": 1.5}}


@dataclass(frozen=True)
class Figure:
    """A plot with its caption and the same numbers as a table.

    Attributes:
        name: unique on the page.
        title: a few words.
        caption: what is to be seen and how to read it.
        traces: plotly's traces as plain JSON. A trace with a "legendgroup", a position in ``Section.marks``, is shown
            and hidden by the key; one with a "choice", a position in ``Section.choices``, is shown with that choice
            alone. Both are text, as plotly has it.
        layout: plotly's layout.
        tables: the text alternative, folded away below the plot; empty where it is a table of the section.
        chosen: likewise, one for each of ``Section.choices`` and shown with it; empty if none depends on the choice.
        ratio: height over width, where the plot must keep its shape on a narrow screen.
        half: whether two such figures stand side by side where there is room.
    """

    name: str
    title: str
    caption: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    tables: tuple[Table, ...] = ()
    chosen: tuple[Table, ...] = ()
    ratio: float | None = None
    half: bool = False

    @property
    def plot(self) -> dict[str, Any]:
        """Traces and layout, numbers that are not finite as null."""
        plot = {"traces": list(self.traces), "layout": dict(self.layout), "ratio": self.ratio}
        return {name: _finite(value) for name, value in plot.items()}


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: unique on the page; its anchor.
        title: its heading.
        text: above the figures; an empty line parts paragraphs.
        figures: in order.
        marks: the key; each can be switched on and off in all figures of the section.
        choices: labels of which exactly one is shown at a time, in all figures of the section.
        chooser: what is chosen.
        tables: shown open, below the figures.
        template: the file that sets the section.
        content: what a template of its own needs beside these.
    """

    name: str
    title: str
    text: str
    figures: tuple[Figure, ...] = ()
    marks: tuple[Mark, ...] = ()
    choices: tuple[str, ...] = ()
    chooser: str = "Network"
    tables: tuple[Table, ...] = ()
    template: str = "section.html"
    content: Mapping[str, Any] = field(default_factory=dict)


def marks(comparison: Comparison) -> tuple[Mark, ...]:
    """The marks of ``comparison.everyone``, the same in every figure."""
    everyone = (*comparison.arms, *comparison.teachers)
    found = []
    for position, arm in enumerate(everyone):
        symbol = _SYMBOLS[position % len(_SYMBOLS)]
        mark = Mark(
            label=arm.label,
            color=f"var(--hue-{position % _HUES})",
            dash=_DASHES[position % len(_DASHES)],
            symbol=symbol if arm.role == "student" else f"{symbol}-open",
            on=arm.role == "student" or not comparison.arms,
        )
        if arm.runs:
            found.append(mark)
    return tuple(found)


def class_marks(names: Sequence[str]) -> tuple[Mark, ...]:
    """Marks without lines for up to ``CLASS_MARKS`` classes: no two share a symbol or a color."""
    return tuple(
        Mark(name, f"var(--hue-{position})", None, symbol, on=True)
        for position, (name, symbol) in enumerate(zip(names, _CLASS_SYMBOLS, strict=False))
    )


def layout(x: str, y: str, height: int = 360, **more: Any) -> dict[str, Any]:
    """The layout that all plots share.

    Args:
        x: title of the horizontal axis.
        y: title of the vertical axis.
        height: in pixels.
        more: what this plot has of its own; "xaxis" and "yaxis" are merged into the shared ones.
    """
    axis = {
        "gridcolor": "var(--line)",
        "linecolor": "var(--rule)",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": "var(--rule)",
        "ticklen": 4,
        "exponentformat": "power",
    }
    title = {"font": {"size": 13}, "standoff": 8}
    return {
        "height": height,
        "margin": {"l": 40, "r": 12, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--font)", "size": 13, "color": "var(--quiet)"},
        "hoverlabel": {
            "bgcolor": "var(--paper)",
            "bordercolor": "var(--rule)",
            "font": {"family": "var(--font)", "size": 13, "color": "var(--ink)"},
            "align": "left",
        },
        "hovermode": "closest",
        "showlegend": False,
        "uirevision": "keep",
        **more,
        "xaxis": {**axis, "title": {"text": x, **title}, **more.get("xaxis", {})},
        "yaxis": {**axis, "title": {"text": y, **title}, **more.get("yaxis", {})},
    }


def plain(text: str, longest: int = 40) -> str:
    """A name as plotly must be given it: its texts are read as HTML. Names that are too long for a plot are cut."""
    return html.escape(text if len(text) <= longest else f"{text[: longest - 1]}…", quote=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
