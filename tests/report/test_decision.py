"""The decision: which sentence stands first, what it is made of, and what is advised."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import Maker

from persistill.report import decide, model_card, read, write
from persistill.report import decision as decision_module
from persistill.report.advice import (
    advice,
    another_method,
    learns_by_heart,
    still_learning,
    weak_teacher,
    wide_interval,
)
from persistill.report.choice import Candidate, Choice
from persistill.report.comparison import ArmSummary, Comparison, Epoch, Run
from persistill.report.significance import Difference
from persistill.report.table import escaped
from persistill.report.task_report import interval
from persistill.report.validation_margin import validation_margin


def difference(mean: float, reach: float = 0.01, images: int = 200) -> Difference:
    return Difference(mean, mean - reach, mean + reach, 3, images)


def curve(losses: list[float], train: float = 0.8, validation: float = 0.78) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(number, loss, {}, {}, train, {"accuracy": validation, "nll": loss})
        for number, loss in enumerate(losses, 1)
    )


def with_runs(comparison: Comparison, **changes: object) -> Comparison:
    """Every student's run changed."""
    arms = tuple(replace(arm, runs=tuple(replace(run, **changes) for run in arm.runs)) for arm in comparison.arms)
    return replace(comparison, arms=arms)


def chosen(comparison: Comparison, arm: str) -> Comparison:
    candidates = tuple(
        Candidate(one.name, run.seed or 0, run.folder, 0.5 + 0.1 * (one.name == arm))
        for one in comparison.arms
        for run in one.runs
    )
    student = next(candidate for candidate in candidates if candidate.arm == arm)
    return replace(comparison, choice=Choice(student, 100, candidates))


@pytest.fixture(scope="module")
def comparison(finished: Path) -> Comparison:
    return read(finished)


@pytest.mark.parametrize(
    ("arm", "kd", "tgd", "expected"),
    [
        ("tgd", 0.005, 0.05, "Take tgd, seed 0: distillation helped, tgd against alone: +5.00 points"),
        ("alone", -0.05, 0.005, "Distillation did not beat training alone: take alone, seed 0. tgd against alone: +0"),
        ("kd", 0.005, -0.05, "Distillation did not beat training alone: take kd, seed 0, but expect no more of it"),
        ("kd", -0.05, -0.05, "Distillation did not beat training alone: kd against alone: −5.00 points"),
        ("alone", 0.005, 0.05, "alone, seed 0 is exported, but tgd did better on test images, tgd against alone: +5"),
    ],
)
def test_the_first_sentence_says_what_to_take(comparison, monkeypatch, arm, kd, tgd, expected) -> None:
    found = {"kd": difference(kd), "tgd": difference(tgd)}
    monkeypatch.setattr(decision_module, "against_baseline", lambda _: found)
    decision = decide(chosen(comparison, arm))
    assert decision.sentence.startswith(expected)
    assert "95 % interval" in decision.sentence
    assert bool(decision.advice) == (max(kd, tgd) < 0.01)


@pytest.mark.parametrize("kd", [0.0, -0.0833, 0.05])
def test_an_export_that_was_asked_for_is_not_recommended(comparison, monkeypatch, kd) -> None:
    monkeypatch.setattr(decision_module, "against_baseline", lambda _: {"kd": difference(kd), "tgd": difference(0.0)})
    asked = with_runs(chosen(comparison, "kd"), validation=0.9)
    sentence = decide(replace(asked, settings={**asked.settings, "export": "kd"})).sentence
    if kd > 0:
        assert sentence.startswith("Take kd, seed 0: distillation helped")
        return
    assert sentence.startswith(
        "kd, seed 0 is exported because you asked for it; alone, seed 0 would have been chosen, for accuracy 90.00 "
        "against 60.00 % on validation images. Distillation did not beat training alone: kd against alone: "
    )
    assert "take kd" not in sentence


def test_six_columns_and_the_exported_student_marked(comparison: Comparison) -> None:
    table = decide(comparison).table
    assert len(table.header) == 6
    assert table.header[1:3] == ("Validation accuracy %", "Test accuracy %")
    names = [row[0] for row in table.rows]
    assert names == ["alone", "kd", "tgd (exported)", "teacher: image", "teacher: persistence"]
    assert table.rows[0][-1] == "baseline"


def test_why_names_the_rival_and_the_tie(comparison: Comparison) -> None:
    told = decide(chosen(comparison, "kd")).reasons[0]
    assert told.startswith(
        "Chosen on 100 validation images, the best of 9: accuracy 60.00 % (as much as seeds 1, 2 of this arm; the"
    )
    assert "first is taken), +10.00 points against" in told
    assert "(alone, seed 0" in told
    tied = chosen(comparison, "alone")
    assert tied.choice is not None
    equal = tuple(one._replace(value=0.6) for one in tied.choice.candidates)
    told = decide(replace(tied, choice=Choice(equal[0], 100, equal))).reasons[0]
    assert "as much as kd, seed 0; of equal ones the simplest is taken" in told
    assert "60.00 % (as much as seeds 1, 2 of this arm; the first is taken)" in told
    unlike = tuple(one._replace(nll=0.9 if one.seed == 0 else 0.8 + one.seed / 100) for one in equal)
    told = decide(replace(tied, choice=Choice(unlike[1], 100, unlike))).reasons[0]
    assert "60.00 % (as much as seeds 0, 2 of this arm; the one of the lowest NLL is taken)" in told
    apart = (equal[0], equal[1]._replace(value=0.5), *equal[3:])
    assert "the first is taken" not in decide(replace(tied, choice=Choice(equal[0], 100, apart))).reasons[0]
    asked = replace(tied, settings={**tied.settings, "export": "alone"})
    told = decide(asked).reasons[0]
    assert told.startswith("Exported because it was asked for")
    assert "The best of all there is" in told


def test_the_margin_has_the_interval_of_the_validation_images(maker: Maker) -> None:
    folder = maker.comparison(seeds=(0,), exported="kd")
    random = np.random.default_rng(0)
    target = random.integers(0, 10, 400)
    for skill, run in enumerate(arm.runs[0] for arm in read(folder).arms):
        logits = random.normal(size=(400, 10)).astype(np.float32)
        logits[np.arange(400), target] += skill
        path = run.evaluation / "predictions.npz"
        with np.load(path) as file:
            kept = dict(file)
        np.savez(path, **kept, validation_target=target, validation_logits=logits)
    comparison = chosen(read(folder), "kd")
    margin = validation_margin(comparison)
    assert margin is not None
    assert margin.images == 400
    assert margin.low < margin.mean < margin.high
    reach = interval(comparison.task.figure, margin.low, margin.high)
    assert f"95 % interval {reach})" in decide(comparison).reasons[0]
    assert validation_margin(replace(comparison, choice=None)) is None


def test_the_page_begins_with_the_decision(finished: Path) -> None:
    page = write(finished).read_text(encoding="utf-8")
    decision = decide(read(finished))
    body = page[page.index("<body>") :]
    places = [
        body.index(part) for part in ('id="decision"', 'id="significance-plot"', 'aria-label="Sections"', 'id="table"')
    ]
    assert places == sorted(places)
    assert body.index(decision.sentence.split(":")[0]) < places[0]
    assert body.count('id="significance-plot"') == 1


def test_classes_that_are_never_recognized_are_named(comparison: Comparison) -> None:
    scores = {"recall": [0.0, 0.5, None], "precision": [None, 0.5, 0.1], "f1": [0.0, 0.5, 0.1], "support": [9, 30, 0]}
    metrics = {"classes": scores, "balanced_accuracy": 0.25, "macro_f1": 0.25, "accuracy": 0.4}
    decision = decide(with_runs(comparison, metrics=metrics))
    assert "It never recognizes airplane (0 of 9) on the test images: recall 0." in decision.reasons
    # Two such classes, 9 and 30 images: accuracy is not left alone.
    assert any("balanced accuracy 25.00 %, macro F1 25.00 %" in reason for reason in decision.reasons)


def test_the_smaller_file_is_named(comparison: Comparison) -> None:
    export = {
        "files": {"onnx": "model.onnx", "int8": "model.int8.onnx"},
        "bytes": {"onnx": 400_000, "int8": 120_000},
        "milliseconds": {"onnx": {"1": 2.0}, "int8": {"1": 1.5}},
        "accuracy": {"checkpoint": 0.5, "int8": 0.49},
        "images": 64,
    }
    told = decide(replace(comparison, export=export)).reasons[-1]
    assert told == (
        "model.int8.onnx is smaller and faster: 0.12 MB instead of 0.40, 1.50 ms an image instead of 2.00 here, "
        "accuracy 49.00 % instead of 50.00 % on 64 test images."
    )
    slow = {**export, "milliseconds": {"onnx": {"1": 2.0}, "int8": {"1": 2.5}}}
    assert "smaller and no faster" in decide(replace(comparison, export=slow)).reasons[-1]


# Rules, each on made logs.


def test_a_teacher_no_better_than_the_student_is_told(comparison: Comparison) -> None:
    def teacher(value: float) -> Comparison:
        base = with_runs(comparison, validation=0.6)
        teachers = tuple(
            replace(arm, runs=tuple(replace(run, validation=value) for run in arm.runs)) for arm in base.teachers
        )
        return replace(base, teachers=teachers)

    assert "The best teacher (image) is hardly better" in weak_teacher(teacher(0.605), {})
    assert "accuracy 55.00 % against 60.00 %" in weak_teacher(teacher(0.55), {})
    assert weak_teacher(teacher(0.8), {}) == ""
    assert weak_teacher(teacher(math.nan), {}) == ""


def test_learning_by_heart_is_told(comparison: Comparison) -> None:
    flat = [1.0] * 10
    assert "22 points more" in learns_by_heart(with_runs(comparison, curve=curve(flat, 0.9, 0.68)), {})
    assert learns_by_heart(with_runs(comparison, curve=curve(flat, 0.8, 0.78)), {}) == ""
    rising = [1.0, 0.5, 0.6, 1.0]
    assert "2.0 times the least" in learns_by_heart(with_runs(comparison, curve=curve(rising)), {})
    assert learns_by_heart(with_runs(comparison, curve=()), {}) == ""


def test_advice_does_not_contradict_itself_or_what_was_run(comparison: Comparison) -> None:
    both = with_runs(comparison, curve=curve([2.0 * 0.9**epoch for epoch in range(20)], 0.95, 0.6))
    assert "fewer epochs" not in learns_by_heart(both, {})
    assert "train longer" in still_learning(both, {})
    again = with_runs(comparison, curve=curve([1.0, 0.2, 0.9, 0.8]))
    assert "fewer epochs" in learns_by_heart(again, {})
    assert still_learning(again, {}) == ""
    assert "train.augment" in learns_by_heart(again, {})
    settings = {**comparison.settings, "train": {"augment": ["crop", "flip"]}, "student": {"initial": "pretrained"}}
    told = learns_by_heart(replace(again, settings=settings), {})
    assert told.endswith("More images help most; then fewer epochs.")


def test_nothing_else_is_advised_where_nothing_is_left_to_gain(comparison: Comparison) -> None:
    (told,) = advice(with_runs(comparison, validation=1.0), {"kd": difference(0.0, 0.05)})
    assert told.startswith("Nothing is left to gain here: alone reaches accuracy 100.00 %")
    assert len(advice(with_runs(comparison, validation=0.9), {"kd": difference(0.0, 0.05)})) > 1


def test_a_student_at_chance_is_told(maker: Maker) -> None:
    comparison = chosen(read(maker.comparison(seeds=(0,), exported="kd")), "kd")
    run = next(arm.runs[0] for arm in comparison.arms if arm.name == "kd")
    path = run.evaluation / "predictions.npz"
    with np.load(path) as file:
        kept = dict(file)
    assert not any("chance" in reason for reason in decide(comparison).reasons)
    np.savez(path, **{**kept, "logits": np.zeros_like(kept["logits"])})
    (told,) = (reason for reason in decide(comparison).reasons if "chance" in reason)
    assert told.startswith("It is no better than chance: right on ")
    assert "trained too little" in told


def test_a_loss_that_still_falls_is_told(comparison: Comparison) -> None:
    falling = [2.0 * 0.9**epoch for epoch in range(20)]
    told = still_learning(with_runs(comparison, curve=curve(falling)), {})
    assert "still falls by 19 % over the last 2 epochs of 20" in told
    assert "--epochs 40" in told
    few = still_learning(with_runs(comparison, curve=curve([2.0, 1.5, 1.2])), {})
    assert "over the last epoch of 3: train longer" in few
    assert still_learning(with_runs(comparison, curve=curve([1.0] * 20)), {}) == ""
    assert still_learning(with_runs(comparison, curve=()), {}) == ""


def test_intervals_that_show_nothing_are_told(comparison: Comparison) -> None:
    told = wide_interval(comparison, {"kd": difference(0.01, 0.05, 90), "tgd": difference(0.0, 0.06)})
    assert told.startswith("The intervals reach 5.0 points to either side: 90 test images and 3 seeds")
    one = wide_interval(comparison, {"kd": replace(difference(0.01, 0.05, 1), seeds=1)})
    assert "1 test image and 1 seed cannot" in one
    assert wide_interval(comparison, {"kd": difference(0.0, 0.01)}) == ""
    assert wide_interval(comparison, {}) == ""


def test_methods_that_were_not_tried_are_named(comparison: Comparison) -> None:
    arms = {"alone": {"methods": []}, "at": {"methods": [{"is": "AT"}]}}
    told = another_method(replace(comparison, settings={"arms": arms}), {})
    assert told == "Try another method beside at: --method kd --method kd+sp."
    assert another_method(replace(comparison, settings={"arms": {"alone": {"methods": []}}}), {}) == ""
    detectors = replace(comparison.task, suggestions=("kd", "pkd", "sekd"))
    arms = {"a": {"methods": [{"is": "DenseKD"}, {"is": "OnLevels", "loss": {"is": "SEKD"}}]}}
    told = another_method(replace(comparison, task=detectors, settings={"arms": arms}), {})
    assert told == "Try another method beside kd, sekd: --method pkd."


def test_a_comparison_without_runs_is_decided_too(comparison: Comparison) -> None:
    empty = tuple(ArmSummary(arm.name, "student", ()) for arm in comparison.arms)
    bare = replace(comparison, arms=empty, teachers=(), choice=None, export=None)
    assert decide(bare).sentence == "No run of this comparison is complete."
    assert decide(bare).reasons == ()
    assert isinstance(comparison.arms[0].runs[0], Run)


def test_the_card_of_the_exported_student_says_why(maker: Maker) -> None:
    comparison = read(maker.comparison(seeds=(0, 1), exported="kd"))
    assert comparison.choice is not None
    second = next(one for one in comparison.choice.candidates if (one.arm, one.seed) == ("kd", 1))
    comparison = replace(comparison, choice=replace(comparison.choice, student=second))
    card = model_card(comparison, "kd")
    assert "(kd, seed 1)" in card
    assert "## Why this one" in card
    assert escaped(decide(comparison).reasons[0]) in card
    assert "## Why this one" not in model_card(comparison, "alone")
    assert "## Why this one" not in model_card(comparison, "kd", seed=0)
