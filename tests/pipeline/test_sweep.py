"""Trials of a recipe: chosen by validation images alone, resumed, given up, and the best one run whole."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import persistill
from persistill.cli import main
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.errors import UserError
from persistill.losses import KD
from persistill.pipeline import Pipeline
from persistill.pipeline.executors import choose
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.executors.walk import Walk
from persistill.pipeline.executors.worker import Workplace
from persistill.pipeline.sweep.record import Record, Trial
from persistill.pipeline.sweep.space import Dimension, Space, parse_over
from persistill.pipeline.sweep.study import Study
from persistill.pipeline.sweep.trials import Sweep
from persistill.report.sweep import render_sweep
from persistill.utils.progress import Silent

pytest.importorskip("optuna", reason="Optuna is an extra: pip install persistill[sweep]")

RECIPE = Recipe(
    name="tiny",
    data=Data(source="digits", train=60, validation=20, test=20),
    teachers={"image": Teacher(model=Model(name="resnet-8"))},
    student=Model(name="resnet-8"),
    arms={"alone": Arm(), "kd": Arm(methods=(KD(),), teachers=("image",))},
    train=Train(epochs=1, batch_size=20, schedule="constant"),
    evaluate=Evaluate(noise=(), corruptions=(), attacks=()),
    seeds=(0, 1),
    formats=(),
)
OVER = ["arms.kd.cross_entropy=uniform(0.1, 1)", "arms.kd.methods.0.temperature=choice(1.0, 4.0)"]


class InProcess:
    """An executor that works here, and is interrupted after so many stages."""

    workers = 1

    def __init__(self, stages: int | None = None) -> None:
        self.left = stages

    def run(self, walk: Walk, watch: Callable[[], None] = lambda: None) -> None:
        while walk:
            task = walk.ready()[0]
            try:
                folder = task.stage.run(task.context)
            except UserError as error:
                walk.failed(task, Outcome.of_error(error))
            else:
                walk.finished(task, folder)
            if self.left is not None:
                self.left -= 1
                if not self.left:
                    raise KeyboardInterrupt
            watch()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> persistill.Sweep:
    """A sweep from the command line."""

    @contextmanager
    def here(*_: object) -> Iterator[InProcess]:
        yield InProcess()

    out = tmp_path_factory.mktemp("sweep")
    source = out / "tiny.py"
    source.write_text("import json\nfrom test_sweep import RECIPE as recipe\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "chosen_executor", here)
        patch.syspath_prepend(Path(__file__).parent)
        options = [option for text in OVER for option in ("--over", text)]
        with pytest.raises(SystemExit) as left:
            main(["sweep", str(source), *options, "--trials", "5", "--out", str(out), "--device", "cpu"])
    assert left.value.code == 0
    (folder,) = out.glob("sweep-tiny-*")
    return persistill.Sweep(folder)


def sweep_of(out: Path, space: Space, trials: int = 5) -> Sweep:
    return Sweep(RECIPE, space, out, trials=trials, device="cpu", progress=Silent())


def test_the_best_on_validation_images_is_run_whole(done: persistill.Sweep) -> None:
    assert [trial["state"] for trial in done.trials] == ["complete"] * 5
    best = max(done.trials, key=lambda trial: trial["figure"])
    assert done.best == best["values"]
    assert best["figure"] == pytest.approx(sum(best["seeds"]) / 2)
    assert len({json.dumps(trial["values"]) for trial in done.trials}) == 5
    assert set(done.importance) == set(done.best)
    arms = {arm.label: arm for arm in done.result.comparison.arms}
    assert [run.validation for run in arms["kd"].runs] == best["seeds"]
    assert done.result.report.is_file()


def test_no_trial_reads_a_test_image(done: persistill.Sweep) -> None:
    out = done.folder.parent
    students = list(out.glob("student-kd-*"))
    assert len(students) == 2 * 5
    assert len(list(out.glob("teacher-*"))) == 1  # what trials have in common is trained once
    assert len(list(out.glob("evaluation-kd-*"))) == 2


def test_the_page_tells_of_chance(done: persistill.Sweep) -> None:
    page = done.page.read_text()
    assert "If the values made no difference" in page
    assert "no trial has read" in page
    record = json.loads((done.folder / "sweep.json").read_text())
    for trial in record["trials"]:
        trial["seeds"] = trial["seeds"][:1]
    assert "20 validation images leave" in render_sweep(record, done.folder)
    hostile = {**record, "recipe": "</title><script>alert(1)</script>"}
    assert "<script>alert" not in render_sweep(hostile, done.folder)
    with pytest.raises(UserError, match="trials must be numbered"):
        render_sweep({**record, "trials": record["trials"][1:]}, done.folder)


def test_a_sweep_that_was_stopped_goes_on_as_if_it_had_not_been(
    done: persistill.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "run", lambda self, _: SimpleNamespace(path=self.out))
    for stages in (2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            sweep_of(tmp_path, parse_over(OVER)).run(InProcess(stages))
    again = sweep_of(tmp_path, parse_over(OVER))
    assert [trial.state for trial in again.record.trials][-1] == "running"
    again.run(InProcess())
    kept = [(trial.values, trial.figure, trial.seeds) for trial in again.record.trials]
    assert kept == [(trial["values"], trial["figure"], trial["seeds"]) for trial in done.trials]


def where_images_are(pipeline: Pipeline) -> int:
    return pipeline.splits.train._pixels.data_ptr()


def test_trials_that_vary_the_data_read_their_own(tmp_path: Path) -> None:
    space = {"data.train": Dimension("int", 40, 60), "train.lr": Dimension("log", 0.01, 0.1)}
    sweep = Sweep(RECIPE, space, tmp_path, arm="kd", device="cpu", progress=Silent())
    first, other = (sweep._pipeline_of(Trial(0, {"data.train": count, "train.lr": 0.02})) for count in (60, 40))
    assert where_images_are(first) == where_images_are(sweep._first)
    assert len(other.splits.train) == 40 - 20

    place = Workplace("cpu", Silent())
    place._pipeline = kept = place._opened(Job.of(first.context))
    assert where_images_are(place._opened(Job.of(sweep._first.context))) == where_images_are(kept)
    scaled = Pipeline(RECIPE.with_values({"data.mean": (0.5,), "data.std": (0.5,)}), tmp_path, device="cpu")
    assert where_images_are(place._opened(Job.of(scaled.context))) != where_images_are(kept)


def test_a_trial_that_fails_is_one_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "run", lambda self, _: SimpleNamespace(path=self.out))
    space = {"arms.kd.methods.0.weight": Dimension("choice", options=("1.0", "1e12"))}
    sweep = sweep_of(tmp_path, space, trials=3)
    sweep.run(InProcess())
    found = {trial.values["arms.kd.methods.0.weight"]: trial for trial in sweep.record.trials}
    assert found["1e12"].state == "failed"
    assert "diverge" in found["1e12"].said
    assert found["1.0"].state == "complete"
    assert sweep.record.best == found["1.0"]


def test_where_all_trials_fail_the_reason_is_told(tmp_path: Path) -> None:
    space = {"arms.kd.methods.0.weight": Dimension("choice", options=("1e11", "1e12"))}
    with pytest.raises(UserError, match=r"no trial .* came to an end; the last one: .*diverge"):
        sweep_of(tmp_path, space, trials=1).run(InProcess())


def test_a_trial_behind_the_median_of_others_is_given_up() -> None:
    figure = {"name": "accuracy", "title": "Accuracy", "unit": "%", "better": True}
    record = Record("tiny", "kd", figure, {"train.lr": Dimension("log", 0.01, 1.0)}, 20)
    record.trials = [
        Trial(number, {"train.lr": 0.1}, "complete", 0.5 + number / 10, [0.5], {1: 0.3, 2: 0.4 + number / 100})
        for number in range(5)
    ]
    study = Study(record, seed=0, warm_up=2)
    trial = study.ask()
    assert (trial.number, len(record.trials)) == (5, 6)
    assert not study.report(trial, 1, 0.1)  # too early
    assert study.report(trial, 2, 0.41)
    trial.state = "pruned"
    study.tell(trial)
    other = study.ask()
    assert not study.report(other, 2, 0.43)
    never = Study(Record("tiny", "kd", figure, record.space, 20, record.trials[:5]), seed=0, warm_up=None)
    assert not never.report(never.ask(), 2, 0.0)


def test_two_processes_do_not_work_at_one_sweep(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, parse_over(OVER))

    class Again(InProcess):
        def run(self, walk: Walk, watch: Callable[[], None] = lambda: None) -> None:
            sweep_of(tmp_path, parse_over(OVER)).run(InProcess())

    with pytest.raises(UserError, match="another process works at"):
        sweep.run(Again())


def test_arguments_that_do_not_fit_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one trial"):
        persistill.sweep(RECIPE, {"train.lr": "log(0.1, 1)"}, trials=0, out=tmp_path)
    with pytest.raises(UserError, match="leave out the executor"):
        persistill.sweep(RECIPE, {"train.lr": "log(0.1, 1)"}, executor="local", out=tmp_path)
