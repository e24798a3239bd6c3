"""The number of threads is chosen once for a recipe, where nobody stated one."""

import json
from pathlib import Path

import pytest
import torch

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Train
from persistill.pipeline import Pipeline, thread_choice
from persistill.pipeline.thread_choice import chosen_threads, step_seconds
from persistill.run_folder import RunFolder
from persistill.utils.thread_count import all_threads

RECIPE = Recipe(
    name="test",
    data=Data(source="digits", train=100, validation=20, test=20),
    student=Model(name="resnet-8"),
    arms={"alone": Arm()},
    train=Train(epochs=1, batch_size=32, schedule="constant"),
    evaluate=Evaluate(noise=(), attacks=(), corruptions=()),
    seeds=(0,),
    formats=(),
)


@pytest.fixture
def unstated(monkeypatch: pytest.MonkeyPatch):
    """A machine of two cores, on which nobody said anything and one thread is the faster."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(thread_choice, "BEFORE", 2)
    monkeypatch.setattr(thread_choice.os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    asked = []
    seconds = {1: 0.1, 2: 0.4}

    def measure(_context, model: str, counts: tuple[int, ...]) -> dict[int, float]:
        asked.append(model)
        return {count: seconds[count] for count in counts}

    monkeypatch.setattr(thread_choice, "step_seconds", measure)
    yield asked, seconds
    torch.set_num_threads(before)


def used(pipeline: Pipeline, *, keep: bool = True) -> tuple[int, int]:
    with chosen_threads(pipeline.context, pipeline.graph, keep=keep):
        inside = torch.get_num_threads(), all_threads()
    assert torch.get_num_threads() == all_threads()
    return inside


def test_the_faster_number_is_kept_for_the_recipe(unstated, tmp_path: Path) -> None:
    asked, seconds = unstated
    pipeline = Pipeline(RECIPE, tmp_path, device="cpu")
    assert used(pipeline, keep=False) == (1, 2)
    assert list(tmp_path.iterdir()) == []
    assert used(pipeline) == (1, 2)
    assert asked == ["resnet-8"]  # once, for a plan and the run that follows it
    (kept,) = tmp_path.glob(".threads/*.json")
    assert json.loads(kept.read_text()) == {"threads": 1, "seconds": {"1": 0.1, "2": 0.4}}

    seconds[2] = 0.01
    assert used(Pipeline(RECIPE, tmp_path, device="cpu")) == (1, 2)
    other = Pipeline(RECIPE.with_value("train.lr", 0.5), tmp_path, device="cpu")
    assert used(other) == (2, 2)
    kept.write_text("[]")  # damaged, it is chosen again
    assert used(pipeline) == (2, 2)


def test_all_threads_must_be_worth_it(unstated, tmp_path: Path) -> None:
    unstated[1][2] = 0.095
    assert used(Pipeline(RECIPE, tmp_path, device="cpu")) == (1, 2)


def test_a_run_records_the_number_and_goes_on_with_it(unstated, tmp_path: Path) -> None:
    pipeline = Pipeline(RECIPE, tmp_path, device="cpu")
    names = [stage.folder_name for stage in pipeline.stages()]
    pipeline.run()
    assert torch.get_num_threads() == 2
    student = pipeline.graph.students["alone", 0]
    folder = RunFolder.open(tmp_path / student.folder_name)
    assert folder.computed == {"device": "cpu", "threads": 1}
    # What a network costs to run is measured with all threads, whatever was chosen.
    cost = pipeline.graph.costs[""]
    timed = RunFolder.open(tmp_path / cost.folder_name).result()["latency"]
    assert {entry["threads"] for entry in timed} == {1, 2}
    assert [stage.folder_name for stage in Pipeline(RECIPE, tmp_path, device="cpu").stages()] == names

    # Without the note, and with more to do, the stages that are there decide.
    unstated[1][2] = 0.01
    longer = Pipeline(RECIPE.with_value("seeds", (0, 1)), tmp_path, device="cpu")
    assert used(longer) == (1, 2)


@pytest.mark.parametrize("how", ["variable", "call", "one"])
def test_a_stated_number_stays(how: str, unstated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "variable":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    if how == "call":
        torch.set_num_threads(3)
    if how == "one":
        torch.set_num_threads(1)
    number = torch.get_num_threads()
    assert used(Pipeline(RECIPE, tmp_path, device="cpu")) == (number, number)
    assert unstated[0] == []


def test_steps_are_measured_and_no_random_number_is_drawn(tmp_path: Path) -> None:
    before = torch.random.get_rng_state(), torch.get_num_threads()
    found = step_seconds(Pipeline(RECIPE, tmp_path, device="cpu").context, "resnet-8", (1, 2))
    assert found.keys() == {1, 2}
    assert min(found.values()) > 0
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == torch.get_num_threads()


def test_workers_have_their_share_of_the_cores(unstated, tmp_path: Path) -> None:
    asked, seconds = unstated
    seconds[2] = 0.01
    pipeline = Pipeline(RECIPE, tmp_path / "new", device="cpu")
    with chosen_threads(pipeline.context, pipeline.graph, workers=2):
        assert (torch.get_num_threads(), all_threads()) == (1, 2)
    assert asked == []
    assert used(pipeline) == (1, 2)  # the choice is kept for runs without workers

    begun = Pipeline(RECIPE, tmp_path / "begun", device="cpu")
    assert used(begun) == (2, 2)
    with chosen_threads(begun.context, begun.graph, workers=2):
        assert torch.get_num_threads() == 2  # and for those with workers
