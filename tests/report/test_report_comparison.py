import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import NOISE, Maker, expected_calibration_error, softmax
from sklearn.metrics import accuracy_score, log_loss

from persistill.errors import UserError
from persistill.report import Sample, header, markdown, note, read, rows
from persistill.report.sections.reproducibility import repeat
from persistill.run_folder import RunFolder


def test_import_needs_no_torch() -> None:
    code = "import sys, persistill.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_arms_and_teachers_keep_their_order(finished: Path) -> None:
    comparison = read(finished)
    assert [arm.name for arm in comparison.arms] == ["alone", "kd", "tgd"]
    assert [arm.label for arm in comparison.teachers] == ["teacher: image", "teacher: persistence"]
    assert all(arm.seeds == (0, 1, 2) for arm in comparison.arms)
    assert comparison.views[0].groups == ("rows", "columns")
    assert comparison.missing == ()
    assert comparison.export is not None
    assert comparison.class_name(3) == "cat"
    assert comparison.class_name(10) == "10"


def test_every_figure_of_the_table_by_another_route(finished: Path) -> None:
    """From the predictions, with scikit-learn and numpy, to the very text of the cells."""
    comparison = read(finished)
    table = {row[0]: dict(zip(header(comparison), row, strict=True)) for row in rows(comparison)}
    for arm in (*comparison.arms, *comparison.teachers):
        measured: dict[str, list[float]] = {}
        for run in arm.runs:
            with np.load(run.evaluation / "predictions.npz") as file:
                target, logits = file["target"], file["logits"]
                noisy = {level: file[f"noise_{level:g}"] for level in NOISE}
            figures = {
                "Accuracy %": 100 * accuracy_score(target, logits.argmax(axis=1)),
                "NLL": log_loss(target, softmax(logits)),
                "ECE %": 100 * expected_calibration_error(target, logits),
                **{
                    f"Accuracy % at noise {level:g}": 100 * accuracy_score(target, predicted)
                    for level, predicted in noisy.items()
                },
            }
            for name, value in figures.items():
                measured.setdefault(name, []).append(value)
        cells = table[arm.label]
        for name, values in measured.items():
            digits = 3 if name == "NLL" else 2
            expected = f"{np.mean(values):.{digits}f}"
            if arm.role == "student":
                expected += f" ± {np.std(values, ddof=1):.{digits}f}"
            assert cells[name] == expected, (arm.label, name)
        seconds = [RunFolder.open(finished.parent / run.folder).result()["seconds"] for run in arm.runs]
        deviation = f" ± {np.std(seconds, ddof=1):.1f}" if len(seconds) > 1 else ""
        assert cells["Training"] == f"{np.mean(seconds):.1f}{deviation} s"
        assert cells["Seeds"] == ("3" if arm.role == "student" else "—")
        assert cells["Parameters"] == ("175,066" if arm.role == "student" else "1,549,530")


def test_note_says_epoch_seeds_and_images(finished: Path) -> None:
    text = note(read(finished))
    assert "200 test images" in text
    assert "after the last of 8 epochs" in text
    assert "seeds 0, 1, 2" in text


def test_one_seed_has_no_deviation(maker: Maker) -> None:
    comparison = read(maker.comparison(seeds=(5,)))
    assert "±" not in "".join(cell for row in rows(comparison) for cell in row)
    assert "One seed (5), so no deviation" in note(comparison)


def test_curve_holds_one_entry_an_epoch(maker: Maker) -> None:
    comparison = read(maker.comparison(arms=("alone", "tgd")))
    run = comparison.arms[1].runs[0]
    assert [epoch.number for epoch in run.curve] == list(range(1, 9))
    for epoch in run.curve:
        assert epoch.loss == pytest.approx(sum(epoch.weights[name] * epoch.terms[name] for name in epoch.terms))


def test_a_repeated_epoch_counts_once(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",), seeds=(0,))
    run = RunFolder.open(maker.root / read(folder).arms[0].runs[0].folder)
    run.log(type="epoch", epoch=8, loss=99.0, validation=None)
    curve = read(folder).arms[0].runs[0].curve
    assert len(curve) == 8
    assert curve[-1].loss == 99.0
    assert curve[-1].validation == {}


def test_incomplete_and_missing_runs_are_named(maker: Maker) -> None:
    folder = maker.comparison()
    tgd = read(folder).arms[2]
    (maker.root / tgd.runs[0].folder / "done.json").unlink()
    shutil.rmtree(tgd.runs[1].evaluation)
    comparison = read(folder)
    assert comparison.arms[2].seeds == (2,)
    assert comparison.arms[1].seeds == (0, 1, 2)
    assert len(comparison.missing) == 2
    assert "arm 'tgd', seed 0" in comparison.missing[0]
    assert "not complete" in comparison.missing[0]
    assert "arm 'tgd', seed 1" in comparison.missing[1]
    assert rows(comparison)[2][1:3] == ["1", f"{100 * tgd.runs[2].score:.2f}"]


def test_an_arm_without_any_run_keeps_its_row(maker: Maker) -> None:
    folder = maker.comparison(seeds=(0,))
    (read(folder).arms[1].runs[0].evaluation / "done.json").unlink()
    comparison = read(folder)
    assert rows(comparison)[1] == ["kd", "0", *["—"] * 8]
    assert [arm.name for arm in comparison.everyone] == ["alone", "tgd", "image", "persistence"]


def test_figures_that_are_not_finite_are_called_so(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone",))
    run = RunFolder.open(read(folder).arms[0].runs[1].evaluation)
    run.finish({**run.result(), "metrics": {**run.result()["metrics"], "nll": float("nan")}})
    cells = dict(zip(header(read(folder)), rows(read(folder))[0], strict=True))
    assert cells["NLL"] == "not finite"
    assert "±" in cells["Accuracy %"]


def test_other_folders_are_refused(maker: Maker, tmp_path: Path) -> None:
    folder = maker.comparison(seeds=(0,))
    run = maker.root / read(folder).arms[0].runs[0].folder
    with pytest.raises(UserError, match=r"kind 'student'.*'comparison'"):
        read(run)
    with pytest.raises(UserError, match=r"holds no run\.json"):
        read(tmp_path)
    (folder / "done.json").unlink()
    with pytest.raises(UserError, match="is not complete: run its recipe again"):
        read(folder)


def test_sample_against_numpy() -> None:
    values = (0.6, 0.64, 0.71)
    assert Sample(values).mean == pytest.approx(np.mean(values))
    assert Sample(values).deviation == pytest.approx(np.std(values, ddof=1))
    assert Sample((0.5,)).deviation is None
    assert Sample(()).deviation is None
    assert np.isnan(Sample(()).mean)
    assert np.isnan(Sample((0.5, float("nan"))).deviation or 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.96, "60.0 s"), (119.0, "119.0 s"), (150.0, "2.5 min"), (9000.0, "2.5 h")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    from persistill.report.table import duration

    assert duration(Sample((seconds,))) == text


def test_headline_names_arms_and_their_distance_from_the_baseline(maker: Maker) -> None:
    from persistill.report.table import headline

    comparison = read(maker.comparison(arms=("kd", "alone"), seeds=(0, 1)))
    means = [100 * np.mean([run.score for run in arm.runs]) for arm in comparison.arms]
    distance = f"{means[1] - means[0]:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert headline(comparison) == (
        f"Of 200 test images, kd classifies {means[0]:.2f} % correctly, alone {means[1]:.2f} % ({distance} points)."
    )
    many = read(maker.comparison(arms=tuple(f"arm{number}" for number in range(9)), seeds=(0,)))
    values = [100 * arm.runs[0].score for arm in many.arms[1:]]
    assert f"the other 8 arms between {min(values):.2f} % and {max(values):.2f} %." in headline(many)


def test_markdown_holds_the_same_cells(finished: Path) -> None:
    comparison = read(finished)
    lines = markdown(comparison).splitlines()
    assert lines[0] == f"| {' | '.join(header(comparison))} |"
    assert lines[1] == "| :-- | " + " | ".join(["--:"] * 9) + " |"
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:7]] == rows(comparison)
    assert lines[-1] == note(comparison)


def test_markdown_escapes_names(maker: Maker) -> None:
    text = markdown(read(maker.comparison(arms=("a|b", "<b>*c*"), seeds=(0,))))
    assert "| a\\|b |" in text
    assert "\\<b\\>\\*c\\*" in text


def test_devices_and_threads_of_trainings_are_told(maker: Maker) -> None:
    folder = maker.comparison(arms=("alone", "kd"), seeds=(0, 1))
    assert repeat(read(folder)).content["facts"]["Trained on"] == "not recorded"
    runs = [run for arm in (*read(folder).teachers, *read(folder).arms) for run in arm.runs]
    for position, run in enumerate(runs):
        assert (run.device, run.threads) == (None, None)
        path = maker.root / run.folder / "run.json"
        about = json.loads(path.read_text(encoding="utf-8"))
        about["context"] = {"computed": {"device": "cpu", "threads": 2 if position == 0 else 1}}
        path.write_text(json.dumps(about), encoding="utf-8")
    assert read(folder).teachers[0].runs[0].threads == 2
    told = repeat(read(folder)).content["facts"]["Trained on"]
    assert told == f"cpu, 2 threads (1 run); cpu, 1 thread ({len(runs) - 1} runs)"
