"""The report of detectors, from run folders alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_detections import CLASSES, SIZE, DetectorMaker

from persistill.errors import UserError
from persistill.report import Comparison, model_card, read, write
from persistill.report.decision import decide
from persistill.report.detections import precision_by_recall, score_reliability, stored_detections
from persistill.report.figure import Section
from persistill.report.matplotlib_backend import draw
from persistill.report.sections import sections_of
from persistill.report.validation_margin import validation_margin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return DetectorMaker(tmp_path_factory.mktemp("detectors") / "runs").comparison()


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    return read(folder)


@pytest.fixture(scope="module")
def sections(comparison: Comparison) -> dict[str, Section]:
    return {part.name: part for part in sections_of(comparison) if isinstance(part, Section)}


def test_every_section_is_made(comparison: Comparison) -> None:
    parts = sections_of(comparison)
    assert [part for part in parts if isinstance(part, str)] == ["Published figures: the recipe names none."]


def test_curves_and_bins_are_those_of_the_metrics(comparison: Comparison) -> None:
    for arm in comparison.everyone:
        for run in arm.runs:
            found = stored_detections(run.evaluation)
            halves = [precision_by_recall(found, number).mean() for number in range(len(CLASSES))]
            assert halves == pytest.approx(run.metrics["by_class"]["ap50"], abs=1e-12)
            bins = score_reliability(found, 15)
            gaps = np.nansum(bins.size * np.abs(bins.confidence - bins.accuracy)) / bins.size.sum()
            assert gaps == pytest.approx(run.figure("d_ece"), abs=1e-6)
    assert np.isnan(precision_by_recall(replace(found, object_labels=found.object_labels * 0), 1)).all()


def test_the_curve_of_all_classes_is_their_mean(comparison: Comparison, sections: dict[str, Section]) -> None:
    section = sections["precision-recall"]
    assert section.choices == ("all classes", *CLASSES)
    traces = section.figures[0].traces
    assert len(traces) == len(section.choices) * len(comparison.everyone)
    for trace, arm in zip(traces, comparison.everyone, strict=False):
        assert np.mean(trace["y"]) == pytest.approx(100 * arm.figures("ap50").mean, abs=0.01)
    assert [row[0] for row in section.figures[0].chosen[0].rows] == [str(recall) for recall in range(0, 101, 10)]


def test_classes_that_are_never_found_are_named(comparison: Comparison, sections: dict[str, Section]) -> None:
    section = sections["class-ap"]
    assert "pkd never finds platelet (0 of 4), whatever the seed." in section.text
    assert "teacher: teacher never finds platelet (0 of 4)." in section.text
    assert section.tables[0].rows[0][:2] == ("red cell", "34")
    values = [run.metrics["by_class"]["ap"][0] for run in comparison.arms[0].runs]
    assert section.tables[0].rows[0][2].startswith(f"{100 * np.mean(values):.2f} ±")
    assert "It never finds platelet (0 of 4) on the test images: AP50 0." in decide(comparison).reasons


def test_a_class_without_objects_has_no_ap(comparison: Comparison) -> None:
    def without(run: object) -> object:
        by_class = {"ap": [0.5, None, 0.1], "ap50": [0.5, None, 0.1], "objects": [3, 0, 4]}
        return replace(run, metrics={**run.metrics, "by_class": by_class})  # type: ignore[attr-defined, type-var]

    arms = tuple(replace(arm, runs=tuple(map(without, arm.runs))) for arm in comparison.arms)  # type: ignore[arg-type]
    found = next(
        part
        for part in sections_of(replace(comparison, arms=arms, teachers=()))
        if isinstance(part, Section) and part.name == "class-ap"
    )
    assert found.text.endswith("Classes without an object in the test images have none (—): white cell.")
    assert found.tables[0].rows[1] == ("white cell", "0", "—", "—")


def test_intervals_are_those_of_the_draws(comparison: Comparison, sections: dict[str, Section]) -> None:
    table = sections["size-ap"].tables[0]
    draws = [np.load(run.evaluation / "draws.npz")["ap"][1:] for run in comparison.arms[1].runs]
    low, high = np.percentile(np.mean(draws, 0), [2.5, 97.5])
    assert table.rows[1][2] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert table.rows[1][-1] == "—"  # no object is large
    difference = decide(comparison).table.rows[1]
    assert difference[-1] == "better"
    margin = validation_margin(comparison)
    assert margin is not None
    assert (margin.images, margin.verdict) == (24, "better")


def test_one_corruption_is_no_mean_of_several(sections: dict[str, Section]) -> None:
    assert sections["corruptions"].choices == ("fog",)


def test_errors_are_stacked(comparison: Comparison, sections: dict[str, Section]) -> None:
    section = sections["detection-errors"]
    assert [mark.label for mark in section.marks] == [
        *("right", "misplaced", "confused", "repeated", "background", "missed")
    ]
    counted = [run.metrics["errors"]["misplaced"] for run in comparison.arms[1].runs]
    assert section.figures[0].traces[1]["x"][1] == np.mean(counted)
    assert "There are 55 objects." in section.text


def test_boxes_are_shown_with_what_is_right(comparison: Comparison, sections: dict[str, Section]) -> None:
    section = sections["detected-boxes"]
    rows = section.content["rows"]
    assert [row.note for row in rows] == ["hardest"] * 4 + [""] * 4
    for row in rows:
        assert (row.height, row.width) == SIZE
        assert [panel.title for panel in row.panels] == ["truth", "teacher: teacher", "alone", "pkd"]
        own = stored_detections(comparison.arms[1].runs[0].evaluation)
        shown = (own.image == row.number) & (own.scores >= 0.3)
        right, objects = int(own.right[shown].sum()), int((own.counted & (own.object_image == row.number)).sum())
        assert row.panels[-1].said == f"{right} right, {own.wrong[shown].sum()} wrong, {objects - right} missed"
        assert sum(not box.dashed for box in row.panels[-1].boxes) == right
        best = row.panels[-1].boxes[-1]  # drawn last, above the others
        first = np.flatnonzero(shown)[0]
        assert best.name == f"{CLASSES[own.labels[first]]} {own.scores[first]:.2f}"
        assert (best.x, best.y) == pytest.approx(own.boxes[first, :2], abs=0.06)
    truth = {row.number: row.panels[0] for row in rows}
    assert truth[3].said == "0 objects"
    assert [box.name for box in truth[7].boxes] == ["red cell", "white cell", "red cell", "platelet"]


def test_damaged_files_are_a_sentence(tmp_path: Path) -> None:
    folder = DetectorMaker(tmp_path / "runs", images=8).comparison(seeds=(0,))
    comparison = read(folder)
    path = comparison.arms[0].runs[0].evaluation / "detections.npz"
    with np.load(path) as file:
        stored = dict(file)
    for changes in ({"boxes": stored["boxes"][1:]}, {"right": None}):
        arrays = {name: of for name, of in {**stored, **changes}.items() if of is not None}
        np.savez(path, **arrays)  # type: ignore[arg-type]
        absent = [part for part in sections_of(comparison) if isinstance(part, str)]
        assert [text.partition(":")[0] for text in absent] == [
            *("Precision and recall", "Detected boxes", "Published figures", "Calibration")
        ]
        with pytest.raises(UserError, match=r"detections\.npz does not hold"):
            stored_detections(path.parent)


def test_the_card(comparison: Comparison) -> None:
    card = model_card(comparison, "pkd")
    assert "pipeline_tag: object-detection" in card
    assert "that finds objects in images like those of cells" in card
    assert "other objects are passed over" in card
    assert "AP50 %" in card


def test_bars_are_drawn_for_papers(sections: dict[str, Section]) -> None:
    section = sections["detection-errors"]
    drawn = draw(section, section.figures[0], "svg").decode()
    assert "teacher: teacher" in drawn
    assert "misplaced" in drawn
    blue = drawn.count("#0072b2")
    assert blue >= len(section.figures[0].traces[1]["y"])


def test_the_page_fits_and_shows_its_images(browser: object, folder: Path, tmp_path: Path) -> None:
    width = 420
    page_file = write(folder, tmp_path / "report.html")
    context = browser.new_context(viewport={"width": width, "height": 900})  # type: ignore[attr-defined]
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".boxes image").count() == 8
    wide = "[...document.querySelectorAll('.boxes svg')].every((one) => one.getBoundingClientRect().width > 150)"
    assert page.evaluate(wide)
    assert said == []
    context.close()
