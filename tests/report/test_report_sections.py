"""The parts of the page that show what evaluations measure beside accuracy, NLL, ECE and noise."""

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_metrics import CORRUPTIONS
from made_up_runs import Maker
from PIL import Image

from persistill.report import Comparison, against_baseline, model_card, read, similarity_maps, write
from persistill.report.figure import Figure, Section
from persistill.report.sections import sections_of
from persistill.report.sections.cost import cost
from persistill.report.sections.reproducibility import repeat
from persistill.report.table import Table
from persistill.run_folder import RunFolder


def sections(comparison: Comparison) -> dict[str, Section]:
    return {part.name: part for part in sections_of(comparison) if isinstance(part, Section)}


def figure(section: Section, name: str) -> Figure:
    return next(figure for figure in section.figures if figure.name == name)


@pytest.fixture(scope="module")
def comparison(full: Path) -> Comparison:
    return read(full)


@pytest.fixture(scope="module")
def made(comparison: Comparison) -> dict[str, Section]:
    return sections(comparison)


def stored(full: Path, arm: str) -> list[dict[str, Any]]:
    """The metrics of an arm's or teacher's evaluations, straight from the files."""
    done = json.loads((full / "done.json").read_text())
    places = [row["evaluation"] for row in done["rows"] if row["arm"] == arm]
    places += [of["evaluation"] for name, of in done["teachers"].items() if name == arm]
    return [json.loads((full.parent / place / "done.json").read_text())["metrics"] for place in places]


def cell(values: list[float], scale: float, digits: int) -> str:
    values = [scale * value for value in values]
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def row(table: Table, name: str) -> dict[str, str]:
    return next(dict(zip(table.header, cells, strict=True)) for cells in table.rows if cells[0] == name)


def test_all_parts_are_there_and_in_order(made: dict[str, Section]) -> None:
    wanted = ["significance", "accuracy", "cost", "training", "calibration", "selective", "noise", "corruptions"]
    assert list(made)[:8] == wanted
    assert {"threats", "likeness"} <= set(made)


def test_every_arm_has_a_verdict_with_its_interval(comparison: Comparison, made: dict[str, Section]) -> None:
    part = made["significance"]
    found = against_baseline(comparison)
    assert list(found) == ["kd", "tgd"]
    assert len(part.content["sentences"]) == 2
    for name, sentence in zip(found, part.content["sentences"], strict=True):
        of = found[name]
        assert sentence.startswith(f"{name} is {of.verdict}")
        gains = [
            a.score - b.score
            for a, b in zip(comparison.arms[list(found).index(name) + 1].runs, comparison.arms[0].runs, strict=True)
        ]
        assert f"{100 * np.mean(gains):+.2f} points".replace("-", "−") in sentence
        cells = row(part.figures[0].tables[0], name)
        assert cells["Verdict"] == of.verdict
        assert cells["95 % interval"] == f"{100 * of.low:+.2f} to {100 * of.high:+.2f}".replace("-", "−")
    trace = part.figures[0].traces[1]
    assert trace["x"][0] - trace["error_x"]["arrayminus"][0] == pytest.approx(100 * found["tgd"].low)
    assert trace["x"][0] + trace["error_x"]["array"][0] == pytest.approx(100 * found["tgd"].high)


def test_one_arm_has_nothing_to_differ_from(maker: Maker) -> None:
    assert "significance" not in sections(read(maker.comparison(arms=("alone",), seeds=(0,))))


def test_figures_of_confidence_raw_and_calibrated(full: Path, made: dict[str, Section]) -> None:
    scores, errors = made["calibration"].tables
    metrics = stored(full, "kd")
    cells = row(scores, "kd")
    assert cells["Accuracy % of the best 5"] == cell([m["top_k"]["accuracy"] for m in metrics], 100, 2)
    assert cells["Brier"] == cell([m["brier"] for m in metrics], 1, 3)
    assert cells["Brier, calibrated"] == cell([m["calibrated"]["brier"] for m in metrics], 1, 3)
    assert cells["NLL, calibrated"] == cell([m["calibrated"]["nll"] for m in metrics], 1, 3)
    assert cells["Temperature"] == cell([m["calibrated"]["temperature"] for m in metrics], 1, 2)
    cells = row(errors, "kd")
    assert cells["ECE %"] == cell([m["ece"] for m in metrics], 100, 2)
    assert cells["ECE %, calibrated"] == cell([m["calibrated"]["ece"] for m in metrics], 100, 2)
    assert cells["Equal mass %, calibrated"] == cell([m["calibrated"]["ece_equal_mass"] for m in metrics], 100, 2)
    assert cells["Classwise %"] == cell([m["classwise_ece"] for m in metrics], 100, 2)


def test_errors_by_corruption(full: Path, made: dict[str, Section]) -> None:
    heat = figure(made["corruptions"], "corruptions-plot")
    assert len(heat.traces) == 4  # the second teacher sees no images
    metrics = stored(full, "tgd")
    for place, name in enumerate(CORRUPTIONS):
        errors = [1 - np.mean(list(m["corruptions"]["accuracy"][name].values())) for m in metrics]
        assert heat.traces[2]["z"][place][0] == pytest.approx(100 * np.mean(errors), abs=1e-3)
        title = name.replace("_", " ") + ("*" if name == "speckle_noise" else "")
        assert row(heat.tables[0], title)["tgd"] == cell(errors, 100, 2)
    assert "Not measured: teacher: persistence" in made["corruptions"].text


def test_accuracy_by_severity_leaves_the_extra_corruptions_out(full: Path, made: dict[str, Section]) -> None:
    assert made["corruptions"].choices[0] == "mean of 3 corruptions"
    curve = figure(made["corruptions"], "severity-plot").traces[0]
    assert (curve["choice"], curve["legendgroup"]) == ("0", "0")
    assert curve["x"] == [0, 1, 2, 3, 4, 5]
    metrics = stored(full, "alone")
    expected = [np.mean([m["corruptions"]["clean"] for m in metrics])]
    expected += [
        np.mean([m["corruptions"]["accuracy"][name][str(s)] for m in metrics for name in CORRUPTIONS[:3]])
        for s in range(1, 6)
    ]
    assert curve["y"] == pytest.approx([100 * value for value in expected])


def test_accuracy_by_severity_under_each_corruption(full: Path, made: dict[str, Section]) -> None:
    part = made["corruptions"]
    drawn = figure(part, "severity-plot")
    assert part.choices[1:] == ("gaussian noise", "fog", "jpeg compression", "speckle noise*")
    assert len(drawn.chosen) == len(part.choices)
    for choice, name in enumerate(CORRUPTIONS, 1):
        curves = {trace["legendgroup"]: trace for trace in drawn.traces if trace["choice"] == str(choice)}
        assert list(curves) == ["0", "1", "2", "3"]
        for position, arm in enumerate(("alone", "kd", "tgd", "image")):
            found = [metrics["corruptions"] for metrics in stored(full, arm)]
            by_severity = [[of["clean"] for of in found]]
            by_severity += [[of["accuracy"][name][str(s)] for of in found] for s in range(1, 6)]
            assert curves[str(position)]["y"] == pytest.approx([100 * np.mean(values) for values in by_severity])
            label = arm if arm != "image" else "teacher: image"
            shown = [dict(zip(drawn.chosen[choice].header, cells, strict=True)) for cells in drawn.chosen[choice].rows]
            assert [cells["Severity"] for cells in shown] == ["none", "1", "2", "3", "4", "5"]
            assert [cells[label] for cells in shown] == [cell(values, 100, 2) for values in by_severity]


def test_mean_corruption_errors(full: Path, made: dict[str, Section]) -> None:
    done = json.loads((full / "done.json").read_text())
    relative = done["relative_corruption_error"]["of"]
    table = made["corruptions"].tables[0]
    cells = row(table, "kd")
    assert cells["Mean corruption error %"] == cell([m["corruptions"]["error"] for m in stored(full, "kd")], 100, 2)
    assert cells["Relative"] == cell([relative[r["run"]] for r in done["rows"] if r["arm"] == "kd"], 1, 3)
    assert row(table, "teacher: image")["Relative"] == cell([relative[done["teachers"]["image"]["run"]]], 1, 3)


def test_a_baseline_without_errors_leaves_no_relative_error(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone", "kd"), seeds=(0, 1), full=True)
    run = RunFolder.open(folder)
    result = run.result()
    of = result["relative_corruption_error"]["of"]
    run.finish({**result, "relative_corruption_error": {"baseline": "alone", "of": dict.fromkeys(of)}})
    found = read(folder)
    assert row(sections(found)["corruptions"].tables[0], "kd")["Relative"] == "—"
    assert "relative to alone" not in model_card(found, "kd")


def test_risk_by_coverage(full: Path, made: dict[str, Section]) -> None:
    part = made["selective"]
    metrics = stored(full, "kd")
    trace = part.figures[0].traces[1]
    assert trace["x"] == pytest.approx(np.arange(5, 101, 5))
    accuracy = np.mean([m["selective"]["accuracy"] for m in metrics], axis=0)
    assert trace["y"] == pytest.approx(100 * (1 - accuracy))
    assert row(part.tables[0], "kd")["AURC %"] == cell([m["aurc"] for m in metrics], 100, 3)


def test_attacks_and_other_images(full: Path, made: dict[str, Section]) -> None:
    attacks, other = made["threats"].tables
    metrics = stored(full, "tgd")
    assert attacks.header == ("Network", "Accuracy %", "FGSM 2", "FGSM 8", "PGD 2", "PGD 8")
    assert row(attacks, "tgd")["PGD 8"] == cell([m["attacks"]["pgd"]["8"] for m in metrics], 100, 2)
    assert row(other, "tgd")["AUROC % of energy"] == cell([m["ood"]["energy"] for m in metrics], 100, 2)
    assert "teacher: persistence" not in [cells[0] for cells in attacks.rows]


def test_likeness_of_students_and_teachers(full: Path, made: dict[str, Section]) -> None:
    done = json.loads((full / "done.json").read_text())
    table, clusters = made["likeness"].tables
    assert [cells[:2] for cells in table.rows][:3] == [("alone", "image"), ("alone", "persistence"), ("kd", "image")]
    values = [done["likeness"][r["run"]]["image"] for r in done["rows"] if r["arm"] == "kd"]
    expected = ("agreement", 100, 2), ("kl", 1, 3), ("cka", 1, 3), ("diagram_distance", 1, 4)
    assert table.rows[2][2:] == tuple(cell([v[name] for v in values], *how) for name, *how in expected)
    assert row(clusters, "tgd")["V-measure"] == cell([m["v_measure"] for m in stored(full, "tgd")], 1, 3)


def test_only_figures_that_have_a_column_are_explained(full: Path, made: dict[str, Section]) -> None:
    both = made["likeness"].text
    assert "Agreement is" in both
    assert "V-measure is" in both
    clusters_alone = sections(replace(read(full), likeness={}))["likeness"]
    assert clusters_alone.text == "The V-measure is 1 where k-means finds the classes."
    assert len(clusters_alone.tables) == 1


def test_long_latencies_are_written_out(comparison: Comparison) -> None:
    times = {"batch": 1, "threads": 1, "median": 1.32, "low": 1.29, "high": 12.5, "calls": 7}
    slow = {name: {**price, "latency": [times], "joules": 4.2} for name, price in comparison.costs.items()}
    part = cost(replace(comparison, costs=slow))
    assert isinstance(part, Section)
    assert part.tables[1].rows[0][3:5] == ("1,320", "1,290 to 12,500")
    assert "4,200 mJ" in part.tables[1].caption


def test_cost_and_the_front(comparison: Comparison, made: dict[str, Section]) -> None:
    part = made["cost"]
    latency, size = part.figures
    assert [trace["x"] for trace in latency.traces[:3]] == [[pytest.approx(1.75066)]] * 3
    assert latency.traces[3]["x"] == [pytest.approx(15.4953)]
    assert size.traces[4]["x"] == [pytest.approx(6.19892)]
    assert all(mark.on for mark in part.marks)
    on_front = {cells[0] for cells in latency.tables[0].rows if cells[-1] == "yes"}
    best = max(comparison.arms, key=lambda arm: arm.score.mean)
    teacher = comparison.teachers[0]
    assert on_front == {best.label} | ({teacher.label} if teacher.score.mean > best.score.mean else set())
    assert [cells[0] for cells in part.tables[0].rows] == ["student", "teacher: image", "teacher: persistence"]
    assert row(part.tables[0], "student")["MACs, million"] == "31.51"
    assert part.tables[1].rows[3][:4] == ("student", "64", "2", "56")
    # Times within each other's noise are no reason to choose, and are not drawn.
    alike = dict.fromkeys(comparison.costs, comparison.costs[""])
    (only,) = cost(replace(comparison, costs=alike)).figures
    assert only.name == "size-plot"


def test_a_cost_folder_that_is_gone_is_said(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,), full=True)
    for path in maker.root.glob("cost-student-*/done.json"):
        path.unlink()
    comparison = read(folder)
    assert "Left out a cost" in comparison.missing[0]
    assert [mark.label for mark in sections(comparison)["cost"].marks] == ["teacher: image", "teacher: persistence"]


def test_published_figures_have_a_part(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    run = RunFolder.open(folder)
    entry = {"source": "A paper.", "chosen": "best epoch", "figures": {"alone": 0.9}, "differences": ["Other data."]}
    comparison = read(folder)
    with_figures = Comparison(**{**vars(comparison), "settings": {**comparison.settings, "published": [entry]}})
    part = sections(with_figures)["published"]
    assert part.tables[0].rows[0][3] == "90.00"
    assert "Other data." in part.text
    assert run.complete


def test_what_old_folders_lack_is_said(finished: Path) -> None:
    text = write(finished, finished.parent / "old.html").read_text(encoding="utf-8")
    for sentence in (
        "Cost: it was not measured",
        "Selective prediction: the evaluations",
        "Corrupted images: no network",
        "Attacks and other images: no network",
        "Likeness of students and teachers: it was not measured",
    ):
        assert sentence in text


def test_a_figure_that_was_not_finite_is_left_out(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone", "kd"), seeds=(0, 1), full=True)
    evaluation = RunFolder.open(read(folder).arms[1].runs[0].evaluation)
    result = evaluation.result()
    result["metrics"]["aurc"] = None
    evaluation.finish(result)
    table = sections(read(folder))["selective"].tables[0]
    assert row(table, "kd")["AURC %"] == "—"
    assert row(table, "alone")["AURC %"] != "—"


def test_similarity_maps_show_the_maps_that_were_read(comparison: Comparison, made: dict[str, Section]) -> None:
    arm = comparison.arms[2]
    found = similarity_maps(comparison, arm, arm.runs[0])
    kd, tgd = made["similarity"].content["rows"]
    assert kd.title == "kd, seed 0"
    titles = ["teacher image", "teacher persistence", "merged", "student before", "student after"]
    assert [panel.title for panel in tgd.panels] == titles
    panels = list(found.stages[-1].panels.values())
    rest = ~np.eye(len(found.target), dtype=bool)
    low, high = min(p[rest].min() for p in panels), max(p[rest].max() for p in panels)
    for panel, gram in zip(tgd.panels, panels, strict=True):
        raw = base64.b64decode(panel.source.removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(raw)) as image:
            shown = low + (high - low) * np.asarray(image) / 255
        assert np.abs(shown - gram)[rest].max() <= 0.51 * (high - low) / 255
        pairs = [(i, j) for i in range(len(gram)) for j in range(len(gram)) if i != j]
        same = np.mean([gram[i, j] for i, j in pairs if found.target[i] == found.target[j]])
        other = np.mean([gram[i, j] for i, j in pairs if found.target[i] != found.target[j]])
        assert panel.label == f"same class {same:.3f}, others {other:.3f}"
        assert panel.label in panel.text


def test_a_teacher_out_of_a_file_says_how_it_sees_images(comparison: Comparison) -> None:
    assert not any(name.startswith("Teacher ") for name in repeat(comparison).content["facts"])
    teacher = comparison.teachers[0]
    notes = ("gray images are repeated for its three channels", "its classes are matched by name")
    noted = replace(teacher, runs=tuple(replace(run, notes=notes) for run in teacher.runs))
    facts = repeat(replace(comparison, teachers=(noted,))).content["facts"]
    assert facts[f"Teacher {teacher.name}"] == f"out of a file; {'; '.join(notes)}"
