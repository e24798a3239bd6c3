"""The part of the page that shows embedding maps."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_maps import keep_maps, mapped
from made_up_runs import CLASSES, Maker

from persistill.report import read
from persistill.report.figure import Section
from persistill.report.matplotlib_backend import draw
from persistill.report.sections.embeddings import embeddings

FILE = "embedding_maps.npz"


def stored(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / FILE) as file:
        return dict(file)


def store(folder: Path, found: dict[str, np.ndarray]) -> None:
    np.savez(folder / FILE, **found)


def made(folder: Path) -> Section:
    part = embeddings(read(folder))
    assert isinstance(part, Section)
    return part


def points(traces: list[dict[str, Any]]) -> dict[int, tuple[float, float, str, str, bool]]:
    """Row of an image -> where it is drawn, in whose color and symbol, and whether hollow."""
    found = {}
    for trace in traces:
        symbol = trace["marker"]["symbol"]
        look = trace["marker"]["color"], symbol.removesuffix("-open"), symbol.endswith("-open")
        for x, y, row in zip(trace["x"], trace["y"], trace["customdata"], strict=True):
            assert row not in found
            found[row] = (x, y, *look)
    return found


def test_every_image_is_drawn_where_it_lies_and_marked_by_class_and_answer(full: Path) -> None:
    part, found = made(full), stored(full)
    assert [mark.label for mark in part.marks] == CLASSES
    assert len({mark.symbol for mark in part.marks}) == len({mark.color for mark in part.marks}) == 10
    first, second = part.figures
    drawn = {None: points(first.traces)}
    for choice in range(len(part.choices)):
        drawn[choice] = points([trace for trace in second.traces if trace["choice"] == str(choice)])
    runs = list(mapped(full))  # two teachers and three arms, in the order of the recipe
    shown = [runs[0], runs[4], runs[2], runs[3], runs[1]]
    for run, places in zip(shown, drawn.values(), strict=True):
        assert set(places) == set(found["rows"])
        for position, row in enumerate(found["rows"]):
            x, y, color, symbol, hollow = places[row]
            mark = part.marks[found["target"][position]]
            assert (color, symbol) == (mark.color, mark.symbol)
            assert hollow == (found[f"answer_{run}"][position] != found["target"][position])
            reach = np.abs(found[f"map_{run}"]).max()
            assert (x, y) == pytest.approx(tuple(500 + 480 * found[f"map_{run}"][position] / reach), abs=0.5001)
            assert min(x, y) >= 0
            assert max(x, y) <= 1000


def test_the_first_teacher_stays_and_the_exported_student_comes_first(full: Path, maker: Maker) -> None:
    part = made(full)
    assert part.figures[0].title == "First map: teacher: image"
    assert not any("choice" in trace for trace in part.figures[0].traces)
    assert part.choices == ("tgd, seed 0", "alone, seed 0", "kd, seed 0", "teacher: persistence")
    folder = maker.comparison(seeds=(0,), full=True, exported="kd")
    assert made(folder).choices[0] == "kd, seed 0"


def test_pointing_at_a_image_tells_class_answer_and_row(full: Path) -> None:
    part, found = made(full), stored(full)
    run = next(iter(mapped(full)))
    told = {}
    for trace in part.figures[0].traces:
        head, tail = trace["hovertemplate"].split("<br>")
        assert tail == "test image %{customdata}<extra></extra>"
        texts = trace["text"] if "text" in trace else [head] * len(trace["x"])
        assert head == ("%{text}" if "text" in trace else texts[0])
        told |= dict(zip(trace["customdata"], texts, strict=True))
    for row, true, answer in zip(found["rows"], found["target"], found[f"answer_{run}"], strict=True):
        right = f"{CLASSES[true]}, right"
        assert told[row] == (right if true == answer else f"{CLASSES[true]}, taken for {CLASSES[answer]}")


def test_the_maps_in_numbers(full: Path) -> None:
    part, found = made(full), stored(full)
    comparison = read(full)
    networks = [*comparison.teachers, *comparison.arms]
    rows = {cells[0]: cells[1:] for cells in part.tables[0].rows}
    for arm in networks:
        run = arm.runs[0]
        places, target = found[f"map_{run.folder}"].astype(float), found["target"]
        alike = []
        for here in range(60):
            order = sorted(set(range(60)) - {here}, key=lambda other: math.dist(places[here], places[other]))
            alike += [target[other] == target[here] for other in order[:10]]
        right = np.mean(found[f"answer_{run.folder}"] == target)
        label = arm.label if arm.role == "teacher" else f"{arm.name}, seed 0"
        assert rows[label] == (f"{100 * right:.1f}", f"{100 * np.mean(alike):.1f}", f"{run.figure('v_measure'):.3f}")


def test_of_many_classes_ten_have_marks_of_their_own(maker: Maker) -> None:
    folder = maker.comparison(
        arms=("alone",), seeds=(0,), teachers=(), views=(), full=True, classes=[f"class {n}" for n in range(100)]
    )
    found = stored(folder)
    (name,) = [name for name in found if name.startswith("answer")]
    found["target"] = np.random.default_rng(0).integers(0, 100, 60)
    found["target"][:3], found[name][:3] = 20, (20, 20, 99)
    store(folder, found)
    part = made(folder)
    assert [mark.label for mark in part.marks] == [*(f"class {n}" for n in range(0, 100, 10)), "the other 90 classes"]
    assert "10 classes, evenly spaced" in part.text
    drawn = points(list(part.figures[0].traces))
    assert (len(part.figures), part.choices) == (1, ())
    for row, true in zip(found["rows"], found["target"], strict=True):
        mark = part.marks[true // 10 if true % 10 == 0 else 10]
        assert drawn[row][2:4] == (mark.color, mark.symbol)
    (others,) = [t for t in part.figures[0].traces if t["legendgroup"] == "10" and "open" in t["marker"]["symbol"]]
    assert all("taken for class" in text for text in others["text"])
    order = [int(trace["legendgroup"]) for trace in part.figures[0].traces]
    assert order == sorted(order, reverse=True)  # what has a mark of its own is drawn above the others


def test_many_networks_show_fewer_images_each(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["persistill.report.sections.embeddings"], "_POINTS", 90)
    folder = maker.comparison(seeds=(0,), teachers=("image",), full=True)  # four networks
    part, found = made(folder), stored(folder)
    assert set(points(list(part.figures[0].traces))) == set(found["rows"][:22])
    assert "22 test images" in part.text


def test_embeddings_that_are_not_finite_are_left_out_and_said(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,), teachers=("image",), full=True)
    found = stored(folder)
    name = next(name for name in found if name.startswith("map_student"))
    found[name][[4, 7]] = np.nan
    store(folder, found)
    part = made(folder)
    assert set(points(list(part.figures[1].traces))) == set(np.delete(found["rows"], [4, 7]))
    assert "Up to 2 images are not drawn" in part.text
    found[name][:] = np.nan
    store(folder, found)
    assert made(folder).figures[1].traces == []
    assert made(folder).tables[0].rows[1][2] == "—"


def test_what_is_not_there_is_said(finished: Path, maker: Maker) -> None:
    assert str(embeddings(read(finished))).startswith(f"Embedding maps: there is no {FILE}")
    folder = maker.comparison(arms=("alone", "kd"), seeds=(0, 1), teachers=(), views=(), full=True)
    gone = next(iter(maker.root.glob("student-kd-seed0-*")))
    (gone / "done.json").unlink()
    assert [cells[0] for cells in made(folder).tables[0].rows] == ["alone, seed 0"]
    (folder / FILE).write_bytes(b"nothing of the kind")
    assert "cannot be read" in str(embeddings(read(folder)))
    store(folder, {"rows": np.arange(3)})
    assert "target" in str(embeddings(read(folder)))


def test_old_maps_of_another_comparison_do_no_harm(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,), teachers=(), views=(), full=True)
    found = keep_maps(folder)
    store(folder, {"rows": found["rows"], "target": found["target"]})
    assert embeddings(read(folder)) == "Embedding maps: no network that was mapped is complete."


def test_a_paper_has_the_key_beside_the_map(full: Path) -> None:
    part = made(full)
    text = draw(part, part.figures[1], "svg", 0).decode()
    assert all(f">{name}</text>" in text for name in CLASSES)
    assert draw(part, part.figures[1], "svg", 1).decode() != text
