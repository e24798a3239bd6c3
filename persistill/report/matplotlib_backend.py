"""The page's figures once more for papers, drawn by matplotlib: the same traces, light, with a key."""

import html
import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from persistill.report.figure import Figure, Section

_SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "cross": "P",
    "x": "X",
    "triangle-down": "v",
    "star": "*",
    "triangle-left": "<",
    "triangle-right": ">",
    "line-ns": "|",
}
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "persistill",  # the same folders give the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_METADATA: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}}
_WIDTH, _INCH = 5.5, 100  # inches, and the page's pixels to one
_FEW, _BESIDE = 8, 1.6  # a longer key would cover the plot: it stands beside it, in so many inches


def draw(section: Section, figure: Figure, kind: str, choice: int | None = None) -> bytes:
    """One figure as a file.

    Networks that the page hides at first are left out, as far as there are others.

    Args:
        section: the figure's.
        figure: what is drawn.
        kind: "svg" or "png" (300 dots per inch).
        choice: which of ``section.choices`` is shown; None where there are none.
    """
    hidden = {str(place) for place, mark in enumerate(section.marks) if not mark.on}
    traces = [
        trace
        for trace in figure.traces
        if trace.get("legendgroup") not in hidden and trace.get("choice") in (None, str(choice))
    ]
    with mpl.rc_context(_STYLE):
        height = figure.layout["height"] / _INCH
        width = height / figure.ratio if figure.ratio else _WIDTH
        canvas = Canvas(figsize=(width, height), layout="constrained")
        axes = canvas.add_subplot()
        heat = any(trace["type"] == "heatmap" for trace in traces)
        ends: dict[float, float] = {}
        for trace in traces:
            if trace["type"] == "bar":
                _bars(axes, trace, ends)
            else:
                (_cells if trace["type"] == "heatmap" else _marks)(axes, trace)
        for shape in figure.layout.get("shapes", ()):
            axes.axvline(shape["x0"], color=_color(shape["line"]["color"]), linewidth=0.8)
        _axis(axes, "x", figure.layout["xaxis"], "")
        _axis(axes, "y", figure.layout["yaxis"], "" if heat else figure.title)
        if not heat:
            handles = _key(section, traces)
            if len(handles) > _FEW:
                canvas.set_figwidth(width + _BESIDE)
                canvas.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
            elif handles:
                axes.legend(handles=handles, frameon=False, fontsize=8)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format=kind, dpi=300, metadata=_METADATA[kind])
    return buffer.getvalue()


def _marks(axes: Axes, trace: Mapping[str, Any]) -> None:
    line, marker = trace.get("line", {}), trace.get("marker", {})
    color = _color(line.get("color") or marker.get("color", "var(--ink)"))
    x, y, faint = trace["x"], trace["y"], trace.get("opacity", 1.0)
    for side, place in (("error_x", "xerr"), ("error_y", "yerr")):
        error = trace.get(side)
        if error and error.get("visible", True):
            down = error.get("arrayminus", error["array"])
            reach: dict[str, Any] = {place: [down, error["array"]]}
            axes.errorbar(x, y, fmt="none", ecolor=color, elinewidth=0.9, capsize=2.5, **reach)
    if "lines" in trace["mode"]:
        axes.plot(
            x, y, color=color, linestyle=_dash(line.get("dash")), linewidth=0.7 * line.get("width", 2), alpha=faint
        )
    if "markers" in trace["mode"] and marker:
        symbol = marker["symbol"]
        size = marker.get("size", 8)
        axes.scatter(
            x,
            y,
            s=[(0.6 * value) ** 2 for value in size] if isinstance(size, Sequence) else (0.6 * size) ** 2,
            marker=_SYMBOLS[symbol.removesuffix("-open")],
            facecolors="none" if symbol.endswith("-open") and not symbol.startswith("line") else color,
            edgecolors=color if not symbol.startswith("line") else None,
            zorder=3,
        )


def _bars(axes: Axes, trace: Mapping[str, Any], ends: dict[float, float]) -> None:
    """Horizontal bars, each beginning where the one before it in its row ends, which ``ends`` holds."""
    rows = trace["y"]
    starts = [ends.get(row, 0.0) for row in rows]
    axes.barh(rows, trace["x"], left=starts, height=0.65, color=_color(trace["marker"]["color"]), edgecolor="white")
    ends.update({row: start + width for row, start, width in zip(rows, starts, trace["x"], strict=True)})


def _cells(axes: Axes, trace: Mapping[str, Any]) -> None:
    stops = [(place, _color(color)) for place, color in trace["colorscale"]]
    colors = LinearSegmentedColormap.from_list("heat", stops)
    columns, rows = _places(trace["x"]), _places(trace["y"])
    axes.pcolormesh(
        [columns[0] - 0.5, *(place + 0.5 for place in columns)],
        [rows[0] - 0.5, *(place + 0.5 for place in rows)],
        trace["z"],
        cmap=colors,
        vmin=trace["zmin"],
        vmax=trace["zmax"],
        edgecolors="white",
        linewidth=0.8,
    )
    for row, texts in zip(rows, trace.get("text", ()), strict=False):
        for column, text in zip(columns, texts, strict=True):
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
    for side, values in (("x", trace["x"]), ("y", trace["y"])):
        if values and isinstance(values[0], str):
            turned = {"rotation": 45, "ha": "right"} if side == "x" and max(map(len, values)) > 2 else {}
            getattr(axes, f"set_{side}ticks")(_places(values), list(map(_said, values)), **turned)


def _places(values: Sequence[Any]) -> list[float]:
    return [float(place if isinstance(value, str) else value) for place, value in enumerate(values)]


def _axis(axes: Axes, side: str, axis: Mapping[str, Any], instead: str) -> None:
    def call(what: str, *values: Any) -> None:
        getattr(axes, what.format(side))(*values)

    if axis.get("type") == "log":
        call("set_{}scale", "log")
        # 0.25 rather than powers of ten.
        getattr(axes, f"{side}axis").set_major_formatter(FuncFormatter(_short))
        getattr(axes, f"{side}axis").set_minor_formatter(FuncFormatter(_short))
    if axis.get("tickformat") == "d":
        getattr(axes, f"{side}axis").set_major_locator(MaxNLocator(integer=True))
    if "tickvals" in axis:
        # Ticks widen an axis: those of networks that are not drawn are left out.
        low, high = sorted(axis.get("range") or getattr(axes, f"get_{side}lim")())
        named = [(at, text) for at, text in zip(axis["tickvals"], axis["ticktext"], strict=True) if low <= at <= high]
        call("set_{}ticks", [at for at, _ in named], [_said(text) for _, text in named])
        instead = instead if side == "x" else ""
    if "range" in axis:
        call("set_{}lim", *axis["range"])
    if axis.get("autorange") == "reversed":
        call("invert_{}axis")
    call("set_{}label", axis["title"]["text"] or instead)


def _key(section: Section, traces: Sequence[Mapping[str, Any]]) -> list[Line2D]:
    drawn = {trace.get("legendgroup") for trace in traces}
    return [
        Line2D(
            [],
            [],
            color=_color(mark.color),
            linestyle="none" if mark.dash is None else _dash(mark.line["dash"]),
            marker=_SYMBOLS[mark.symbol.removesuffix("-open")],
            markerfacecolor="none" if mark.symbol.endswith("-open") else _color(mark.color),
            markersize=5,
            linewidth=1.4,
            label=_said(mark.label),
        )
        for place, mark in enumerate(section.marks)
        if str(place) in drawn
    ]


def _short(value: float, _: int | None = None) -> str:
    return f"{value:g}"


def _said(text: str) -> str:
    """A text of the page's plots as matplotlib must be given it."""
    return html.unescape(text).replace("$", r"\$")


def _dash(dash: str | None) -> Any:
    if dash in (None, "", "solid"):
        return "-"
    return (0, tuple(float(part.removesuffix("px")) / 2 for part in str(dash).split(",")))


def _color(name: str) -> str:
    found = re.fullmatch(r"var\(--([\w-]+)\)", name)
    return _light()[found[1]] if found else name


@cache
def _light() -> dict[str, str]:
    """The style sheet's colors of the light theme, which stands first."""
    style = (resources.files("persistill.report") / "templates" / "page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", style.partition("}")[0]))
