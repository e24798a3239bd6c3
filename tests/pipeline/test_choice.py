"""Which student is exported: by validation images, by name, and never by anything else."""

import json
from pathlib import Path

import pytest

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.errors import UserError
from persistill.losses import AB, KD, SP
from persistill.pipeline import Pipeline
from persistill.pipeline.cost_estimate import estimate
from persistill.pipeline.stages.choice import Candidate, choose
from persistill.run_folder import RunFolder

IMAGE = ("image",)


def recipe(**changes: object) -> Recipe:
    values: dict[str, object] = {
        "name": "test",
        "data": Data(source="digits", train=120, validation=30, test=60),
        "student": Model(name="resnet-8"),
        # An arm that hardly moves its weights cannot be the best one.
        "arms": {
            "alone": Arm(),
            "still": Arm(train=Train(epochs=1, batch_size=25, lr=1e-6, schedule="constant")),
        },
        "train": Train(epochs=2, batch_size=25, lr=0.05, schedule="constant"),
        "evaluate": Evaluate(noise=(), attacks=(), corruptions=()),
        "seeds": (0, 1),
    }
    return Recipe(**(values | changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return Pipeline(recipe(), tmp_path_factory.mktemp("runs"), device="cpu").run()


def test_the_best_of_all_arms_and_seeds_is_exported_though_it_is_not_the_last(finished: RunFolder) -> None:
    result = finished.result()
    figures = {
        (row["arm"], row["seed"]): RunFolder.open(finished.path.parent / row["run"]).result()["validation"]["accuracy"]
        for row in result["rows"]
    }
    best = max(figures, key=lambda key: figures[key])
    assert (result["choice"]["arm"], result["choice"]["seed"]) == best
    student = RunFolder.open(finished.path.parent / result["choice"]["run"])
    assert result["choice"]["nll"] == student.result()["validation"]["nll"]
    assert best[0] == "alone"
    exported = RunFolder.open(finished.path.parent / result["export"])
    rows = {row["run"]: (row["arm"], row["seed"]) for row in result["rows"]}
    assert rows[exported.result()["student"]["run"]] == best
    assert exported.path.name.startswith("export-best-")


def test_the_exported_files_have_a_card(finished: RunFolder) -> None:
    exported = finished.path.parent / finished.result()["export"]
    card = (exported / "README.md").read_text()
    assert card.startswith("---")
    assert "## Why this one" in card
    assert RunFolder.open(exported).differences() == {}  # it is written again with every run, and not watched


def test_a_named_arm_is_exported_with_its_best_seed(finished: RunFolder) -> None:
    named = recipe(export="still")
    pipeline = Pipeline(named, finished.path.parent, device="cpu")
    # Everything but choice, export and comparison is there already, so nothing has to be measured for the estimate.
    left = {cost.stage.kind for cost in estimate(pipeline).costs if not cost.complete}
    assert left == {"choice", "export", "comparison"}
    assert estimate(pipeline).dry_run_seconds == 0
    result = pipeline.run().result()
    assert result["choice"]["arm"] == "still"
    values = {one["seed"]: one["value"] for one in result["choice"]["candidates"]}
    assert set(values) == {0, 1}
    assert result["choice"]["value"] == max(values.values())


def test_the_choice_depends_on_the_students_and_not_on_the_evaluation(finished: RunFolder) -> None:
    def keys(given: Recipe) -> dict[str, str]:
        stages = Pipeline(given, Path("nowhere"), device="cpu").stages()
        return {stage.kind: stage.key for stage in stages if stage.kind in ("choice", "export")}

    before = keys(recipe())
    after = keys(recipe().with_value("evaluate.ece_bins", 5))
    assert before["choice"] == after["choice"]
    assert before["export"] != after["export"]
    assert keys(recipe(seeds=(0, 2)))["choice"] != before["choice"]
    stored = json.loads((next(finished.path.parent.glob("choice-best-*")) / "run.json").read_text(encoding="utf-8"))
    assert set(stored["inputs"]) == {"students", "figure", "larger_is_better", "ties"}


def test_ties_go_to_the_simplest_arm() -> None:
    arms = {
        "two": Arm(methods=(KD(),), teachers=("image", "other")),
        "maps": Arm(methods=(SP(),), teachers=IMAGE),
        "started": Arm(methods=(KD(),), teachers=IMAGE, start="two"),
        "kd": Arm(methods=(KD(),), teachers=IMAGE),
        "alone": Arm(),
    }
    order = ["alone", "kd", "maps", "started", "two"]
    for place in range(len(order)):
        equal = [Candidate(name, seed, 0.5) for name in arms if name in order[place:] for seed in (0, 1)]
        assert choose(equal, arms)[:2] == (order[place], 0)
    seeds = [Candidate("kd", seed, 0.5, nll) for seed, nll in enumerate((0.9, 0.7, 0.7, float("nan")))]
    assert choose(seeds, arms).seed == 1
    assert choose([Candidate("alone", 0, 0.5, 0.9), *seeds], arms).arm == "alone"
    assert choose([Candidate("kd", 4, 0.6, 0.9), *seeds], arms).seed == 4
    worst = Candidate("alone", 0, 0.1)
    assert choose([Candidate("kd", 0, 0.5), worst], arms, larger_is_better=False) == worst


def test_arms_that_prepare_others_are_no_candidates() -> None:
    arms = {
        "alone": Arm(),
        "ab start": Arm(cross_entropy=0.0, methods=(AB(),), teachers=IMAGE),
        "ab": Arm(start="ab start"),
        "kd": Arm(cross_entropy=0.0, methods=(KD(),), teachers=IMAGE),
    }
    given = recipe(arms=arms, teachers={"image": Teacher(model=Model(name="resnet-8"))})
    assert given.export_candidates == ("alone", "ab", "kd")
    with pytest.raises(UserError, match=r"an arm cannot be called 'best'"):
        recipe(arms={"best": Arm()})
