"""What networks cost to run, and what that buys."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.figure import Figure, Mark, Section, layout, marks, plain
from persistill.report.table import NOTHING, Table, spread
from persistill.report.task_report import Measure
from persistill.utils.units import three_digits

_MEGA = 1e6
_MILLI = 1e3


def cost(comparison: Comparison) -> Section | str:
    """The task's figure against latency and against size, and the measured costs of every network."""
    # Teachers are shown at once: what a student saves is told by what stands beside it.
    found = [
        (arm, replace(mark, on=True), price)
        for arm, mark in zip(comparison.everyone, marks(comparison), strict=True)
        if (price := comparison.cost(arm))
    ]
    if not found:
        return "Cost: it was not measured in this comparison."
    measure = comparison.task.figure
    timed = [entry for entry in found if _latency(entry[2], 1) is not None]
    figures = [
        _figure(
            measure,
            "size-plot",
            f"{measure.title} by size",
            "size of the weights, MB",
            "MB",
            [(arm, mark, price["bytes"] / _MEGA) for arm, mark, price in found],
        ),
    ]
    told_apart = _told_apart([_latency(price, 1) for _, _, price in timed])
    if told_apart:
        figures.insert(
            0,
            _figure(
                measure,
                "latency-plot",
                f"{measure.title} by latency",
                "median latency of one image, ms",
                "ms",
                [(arm, mark, _MILLI * _latency(price, 1)["median"]) for arm, mark, price in timed],
            ),
        )
    hardware = comparison.about.get("hardware") or {}
    machine = ", ".join(f"{name} {value}" for name, value in hardware.items())
    return Section(
        name="cost",
        title="Cost",
        text=(
            "Latencies are medians of many calls, warm, on the machine that measured them"
            + (f" ({machine})" if machine else "")
            + (
                ". The latencies of all networks are within each other's noise, so they are not drawn"
                if timed and not told_apart
                else ""
            )
            + ". Better networks lie up and to the left. All students share one architecture and so one cost: whatever "
            "sets them apart, it is free when they run."
        ),
        figures=tuple(figures),
        marks=tuple(mark for _, mark, _ in found),
        tables=_tables(found),
    )


def _latency(price: Mapping[str, Any], batch: int, *, single: bool = True) -> Any:
    """The measured times at a batch size, with the fewest threads or the most; None if it was not timed."""
    timed = [entry for entry in price.get("latency") or () if entry["batch"] == batch]
    if not timed:
        return None
    timed.sort(key=lambda entry: entry["threads"] or 0)
    return timed[0 if single else -1]


def _told_apart(latencies: list[Any]) -> bool:
    """Whether two networks differ in latency by more than the noise: the quartiles of their calls do not overlap."""
    return any(one["high"] < other["low"] for one in latencies for other in latencies)


def _figure(
    measure: Measure, name: str, title: str, axis: str, unit: str, places: list[tuple[ArmSummary, Mark, float]]
) -> Figure:
    traces: list[dict[str, Any]] = []
    for position, (arm, mark, x) in enumerate(places):
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "legendgroup": str(position),
                "x": [x],
                "y": [100 * arm.score.mean],
                "error_y": {
                    "type": "data",
                    "array": [100 * (arm.score.deviation or 0.0)],
                    "visible": bool(arm.score.deviation),
                    "color": mark.color,
                    "thickness": 1.2,
                    "width": 4,
                },
                "customdata": [[plain(arm.label), f"{spread(arm.score, 100)} %", f"{three_digits(x)} {unit}"]],
                "marker": {**mark.marker, "size": 11},
                "hovertemplate": "%{customdata[0]}: <b>%{customdata[1]}</b><br>%{customdata[2]}<extra></extra>",
            }
        )
    best = _front(places)
    rows = tuple(
        (arm.label, three_digits(x), spread(arm.score, 100), "yes" if arm.label in best else "no")
        for arm, _, x in places
    )
    return Figure(
        name=name,
        title=title,
        caption=f"Test {measure.in_text} in %, mean over seeds; whiskers reach one sample standard deviation up and "
        "down. The horizontal axis is logarithmic.",
        traces=traces,
        layout=layout(axis, f"{measure.in_text}, %", xaxis={"type": "log", "exponentformat": "none"}),
        tables=(
            Table(
                "On the front stand networks than which none is at once as cheap and better on average. That "
                "says nothing of chance.",
                ("Network", f"{axis[0].upper()}{axis[1:]}", measure.header, "On the front"),
                rows,
            ),
        ),
        half=True,
    )


def _front(places: list[tuple[ArmSummary, Mark, float]]) -> set[str]:
    return {
        arm.label
        for arm, _, x in places
        if not any(other <= x and rival.score.mean > arm.score.mean for rival, _, other in places)
    }


def _tables(found: list[tuple[ArmSummary, Mark, Mapping[str, Any]]]) -> tuple[Table, ...]:
    rows: dict[str, Mapping[str, Any]] = {}
    for arm, _, price in found:
        rows.setdefault("student" if arm.role == "student" else arm.label, price)
    sizes = Table(
        "Size and work. MACs are multiplications with addition for one image; memory is the most that tensors take "
        "during a forward pass.",
        ("Network", "Parameters", "Weights, MB", "MACs, million", "Memory at 1, MB", "Memory at 64, MB"),
        tuple(
            (
                name,
                f"{price['parameters']:,}",
                f"{price['bytes'] / _MEGA:.3f}",
                f"{price['macs'] / _MEGA:.2f}",
                *(_megabytes(price, batch) for batch in ("1", "64")),
            )
            for name, price in rows.items()
        ),
    )
    times = tuple(
        (
            name,
            str(entry["batch"]),
            NOTHING if entry["threads"] is None else str(entry["threads"]),
            three_digits(_MILLI * entry["median"]),
            f"{three_digits(_MILLI * entry['low'])} to {three_digits(_MILLI * entry['high'])}",
            f"{entry['batch'] / entry['median']:,.0f}",
            str(entry["calls"]),
        )
        for name, price in rows.items()
        for entry in price.get("latency") or ()
    )
    latency = Table(
        "Latency: median of the calls, and their quartiles." + _energy(rows),
        ("Network", "Batch", "Threads", "Median, ms", "Quartiles, ms", "Images per second", "Calls"),
        times,
    )
    return (sizes, latency) if times else (sizes,)


def _megabytes(price: Mapping[str, Any], batch: str) -> str:
    value = (price.get("memory") or {}).get(batch)
    return NOTHING if value is None else f"{value / _MEGA:.2f}"


def _energy(rows: Mapping[str, Mapping[str, Any]]) -> str:
    told = [
        f"{name} {three_digits(_MILLI * price['joules'])} mJ" for name, price in rows.items() if price.get("joules")
    ]
    return f" Energy for one image at the largest batch: {', '.join(told)}." if told else ""
