"""Where the test images lie to each network: two maps beside each other, colored by class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError
from persistill.report.comparison import Comparison
from persistill.report.figure import CLASS_MARKS, Figure, Mark, Section, class_marks, layout, plain
from persistill.report.predictions import arrays
from persistill.report.table import NOTHING, Table

_FILE = "embedding_maps.npz"
_POINTS = 10_000  # on all maps together, which take about 300 kB of the page
_SIDE, _REACH = 1000, 0.96  # of a map, and the share that its points take; places are whole numbers, to be short
_NEAREST = 10
_EDGE = {
    "range": [0, _SIDE],
    "showgrid": False,
    "showline": True,
    "mirror": True,
    "tickvals": [],
    "ticktext": [],
    "ticks": "",
    "automargin": False,
}


class _Group(NamedTuple):
    """Classes that look alike on a map.

    Attributes:
        mark: their look.
        numbers: (k,) the classes.
    """

    mark: Mark
    numbers: NDArray[np.int64]


class _Map(NamedTuple):
    """One network's map.

    Attributes:
        label: the network's name.
        places: (n, 2), nan where an embedding was not finite.
        answer: (n,) classes that the network names.
        v_measure: of its embedding; nan if it was not measured.
    """

    label: str
    places: NDArray[np.float64]
    answer: NDArray[np.int64]
    v_measure: float


def embeddings(comparison: Comparison) -> Section | str:
    """A map that stays, of the first teacher, and beside it that of any other network."""
    path = comparison.folder / _FILE
    if not path.exists():
        return f"Embedding maps: there is no {_FILE} in the comparison's folder; older versions did not make it."
    try:
        found = arrays(path)
        rows, target = found["rows"], found["target"]
        maps = list(_maps(comparison, found))
    except (UserError, KeyError) as error:
        return f"Embedding maps: {error}"
    if not maps:
        return "Embedding maps: no network that was mapped is complete."
    count = min(len(rows), _POINTS // len(maps))  # they stand in an order by lot
    rows, target = rows[:count], target[:count]
    maps = [one._replace(places=one.places[:count], answer=one.answer[:count]) for one in maps]
    classes = 1 + max(
        len(comparison.classes) - 1, *(int(of.max(initial=0)) for of in (target, *(m.answer for m in maps)))
    )
    names = [comparison.class_name(number) for number in range(classes)]
    groups = _groups(names)
    first, *others = (list(_traces(one, rows, target, names, groups)) for one in maps)
    figures = [_figure("embeddings-plot", f"First map: {maps[0].label}", first, half=bool(others))]
    if others:
        chosen = [{**trace, "choice": str(choice)} for choice, traces in enumerate(others) for trace in traces]
        figures.append(_figure("embeddings-chosen-plot", "Second map: the network chosen above", chosen, half=True))
    return Section(
        name="embeddings",
        title="Embedding maps",
        text=_text(count, len(names) <= CLASS_MARKS, maps),
        figures=tuple(figures),
        marks=tuple(group.mark for group in groups),
        choices=tuple(one.label for one in maps[1:]),
        chooser="Second map",
        tables=(_table(maps, target),),
    )


def _maps(comparison: Comparison, found: Mapping[str, NDArray[Any]]) -> Iterator[_Map]:
    """Of the first teacher, of the student that was exported, and of the other students and teachers."""
    students = sorted(comparison.arms, key=lambda arm: arm.name != comparison.exported)
    for arm in (*comparison.teachers[:1], *students, *comparison.teachers[1:]):
        run = next((run for run in arm.runs if f"map_{run.folder}" in found), None)
        if run is not None:
            yield _Map(
                label=arm.label if run.seed is None or arm.role == "teacher" else f"{arm.label}, seed {run.seed}",
                places=found[f"map_{run.folder}"].astype(np.float64),
                answer=found[f"answer_{run.folder}"],
                v_measure=run.figure("v_measure"),
            )


def _groups(names: Sequence[str]) -> list[_Group]:
    """Every class for itself; of many classes ten for themselves, evenly spaced by their numbers, and all others."""
    numbers = np.arange(len(names))
    shown = numbers if len(names) <= CLASS_MARKS else numbers[:CLASS_MARKS] * len(names) // CLASS_MARKS
    marks = class_marks([names[number] for number in shown])
    groups = [_Group(mark, shown[place : place + 1]) for place, mark in enumerate(marks)]
    if len(shown) < len(names):
        others = Mark(f"the other {len(names) - len(shown)} classes", "var(--rule)", None, "circle", on=True)
        groups.append(_Group(others, np.setdiff1d(numbers, shown)))
    return groups


def _traces(
    one: _Map, rows: NDArray[np.int64], target: NDArray[np.int64], names: Sequence[str], groups: Sequence[_Group]
) -> Iterator[dict[str, Any]]:
    """Of every group the images that the network gets right, and those that it does not."""
    finite = _finite(one.places)
    reach = np.abs(one.places[finite]).max(initial=0) or 1.0
    places = (_SIDE / 2 * (1 + _REACH * np.where(finite[:, None], one.places, 0) / reach)).round().astype(int)
    short = [plain(name) for name in names]
    for position, (mark, numbers) in reversed([*enumerate(groups)]):  # so that the other classes lie below
        for right in (True, False):
            here = np.flatnonzero(finite & np.isin(target, numbers) & ((one.answer == target) == right))
            if len(here) == 0:
                continue
            told = [
                f"{short[true]}, right" if right else f"{short[true]}, taken for {short[answer]}"
                for true, answer in zip(target[here], one.answer[here], strict=True)
            ]
            same = len(set(told)) == 1
            yield {
                "type": "scatter",
                "mode": "markers",
                "legendgroup": str(position),
                "x": places[here, 0].tolist(),
                "y": places[here, 1].tolist(),
                "customdata": rows[here].tolist(),
                **({} if same else {"text": told}),
                "marker": {
                    "color": mark.color,
                    "symbol": mark.symbol if right else f"{mark.symbol}-open",
                    "size": (5 if right else 7) - (0 if len(numbers) == 1 else 2),
                },
                "hovertemplate": f"{told[0] if same else '%{text}'}<br>test image %{{customdata}}<extra></extra>",
            }


def _figure(name: str, title: str, traces: list[dict[str, Any]], *, half: bool) -> Figure:
    return Figure(
        name=name,
        title=title,
        caption="Filled: put into the right class. Hollow: into another.",
        traces=traces,
        layout=layout("", "", 480, margin={"l": 8, "r": 8, "t": 8, "b": 8}, xaxis=_EDGE, yaxis=_EDGE),
        ratio=1.0,
        half=half,
    )


def _text(count: int, all_classes: bool, maps: Sequence[_Map]) -> str:
    lost = max(int((~_finite(one.places)).sum()) for one in maps)
    some = "" if all_classes else f"{CLASS_MARKS} classes, evenly spaced by their numbers, have marks of their own. "
    missing = f" Up to {lost} images are not drawn, because their embeddings are not finite." if lost else ""
    return (
        f"How networks lay out {count:,} test images, the same on every map: t-SNE puts images side by side that "
        "are near to each other in a network's embedding. Only that can be read off a map. How large a cluster is and "
        "how far it lies from another tells little, directions tell nothing, and t-SNE may tear apart what is one. "
        "Each map is made of its own network alone, and then turned and mirrored so that it fits the first as well as "
        f"it can. Pointing at an image tells its class and its row in the stored answers.\n\n{some}The V-measure "
        "below is taken in the embedding itself, of all images whose embeddings are stored: 1 where k-means finds "
        f"the classes.{missing}"
    )


def _table(maps: Sequence[_Map], target: NDArray[np.int64]) -> Table:
    rows = tuple(
        (
            one.label,
            _said(float((one.answer == target).mean()), 100, 1),
            _said(_alike(one.places, target), 100, 1),
            _said(one.v_measure, 1, 3),
        )
        for one in maps
    )
    return Table(
        f"The maps in numbers: the share of their images that the network gets right; the share of the {_NEAREST} "
        "nearest images on the map that are of the same class; and the V-measure.",
        ("Network", "Right %", "Neighbors of the same class %", "V-measure"),
        rows,
    )


def _said(value: float, scale: float, digits: int) -> str:
    return f"{scale * value:.{digits}f}" if np.isfinite(value) else NOTHING


def _alike(places: NDArray[np.float64], target: NDArray[np.int64]) -> float:
    """The share of the nearest places that are of the same class; nan for fewer than two images."""
    finite = _finite(places)
    places, target = places[finite], target[finite]
    if len(places) < 2:
        return float("nan")
    apart: NDArray[np.float64] = np.square(places[:, None] - places[None]).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argsort(axis=1, kind="stable")[:, : min(_NEAREST, len(places) - 1)]
    return float((target[nearest] == target[:, None]).mean())


def _finite(places: NDArray[np.float64]) -> NDArray[np.bool_]:
    finite: NDArray[np.bool_] = np.isfinite(places.sum(axis=1))
    return finite
