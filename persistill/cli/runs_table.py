"""Run folders in a table: when they were made, what networks reach on test images, which student is exported."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from persistill.errors import UserError
from persistill.run_folder import RunFolder

_ACCURACY = {"title": "Accuracy", "path": ["accuracy"], "unit": "%"}
"""The figure of comparisons that were made before tasks had names."""


def runs_table(folders: Sequence[RunFolder]) -> list[str]:
    """Lines of text in columns, names last but for their state: of whatever length, nothing is cut.

    Args:
        folders: in one place, in the order of their dates.
    """
    figures: dict[str, str] = {}
    exported: set[str] = set()
    results = {folder.path.name: result for folder in folders if (result := _result(folder)) is not None}
    for folder in folders:
        if folder.kind == "comparison" and folder.path.name in results:
            comparison = results[folder.path.name]
            figures.update(_figures(comparison, results))
            if comparison.get("choice"):
                exported.add(str(comparison["choice"]["run"]))
    rows = [
        (
            _date(folder),
            figures.get(folder.path.name, ""),
            folder.path.name,
            _state(folder, exported),
        )
        for folder in folders
    ]
    lines = [("Made", "Test images", "Run folder", "State"), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _state(folder: RunFolder, exported: set[str]) -> str:
    if not folder.complete:
        return "to be continued"
    return "complete, exported" if folder.path.name in exported else "complete"


def _date(folder: RunFolder) -> str:
    """In the time of this place, to the minute; empty where it is no date."""
    try:
        return f"{datetime.fromisoformat(str(folder.about['created'])).astimezone():%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError):
        return ""


def _result(folder: RunFolder) -> dict[str, Any] | None:
    """What a stage found; None if it is not complete, or damaged (``persistill verify`` says how)."""
    if folder.kind not in ("comparison", "evaluation") or not folder.complete:
        return None
    try:
        return folder.result()
    except UserError:
        return None


def _figures(comparison: Mapping[str, Any], results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The task's one figure of every network, in words, by the folder of its training and by that of its evaluation."""
    figure = comparison["task"]["measures"][0] if comparison.get("task") else _ACCURACY
    for entry in (*comparison.get("rows", ()), *comparison.get("teachers", {}).values()):
        value: Any = (results.get(entry["evaluation"]) or {}).get("metrics")
        for name in figure["path"]:
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, float | int):
            text = f"{value:.2%}" if figure["unit"] == "%" else f"{value:.3f} {figure['unit']}".rstrip()
            for folder in (entry["run"], entry["evaluation"]):
                yield folder, f"{figure['title']} {text}"
