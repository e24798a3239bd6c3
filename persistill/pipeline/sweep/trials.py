"""A sweep on its way: trials are begun, looked at, given up, and the best one is run whole."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from persistill.config import BEST, Recipe
from persistill.data import Splits
from persistill.errors import UserError, first_line, unknown
from persistill.pipeline.executors.base import Executor
from persistill.pipeline.executors.job import Outcome
from persistill.pipeline.executors.walk import Task, Walk
from persistill.pipeline.runner import Pipeline
from persistill.pipeline.stage import in_order
from persistill.pipeline.stages.student import StudentStage
from persistill.pipeline.sweep.record import RECORD, Record, Trial
from persistill.pipeline.sweep.space import Space, check_space
from persistill.pipeline.sweep.study import Study
from persistill.pipeline.thread_choice import chosen_threads
from persistill.run_folder import RunFolder, fingerprint
from persistill.storage import open_runs
from persistill.utils.file_lock import LockHeldError, hold
from persistill.utils.progress import Progress, beside

_SECONDS = 0.5
"""Between two looks at how trials stand."""


class Sweep:
    """Trials of a recipe: students of one arm, trained with other values, compared on validation images.

    No trial reads a test image. What trials have in common, and what was trained before, is not trained again.

    Args:
        recipe: what is varied.
        space: field path -> values.
        out: where run folders lie, and the sweep's own: a folder or a URL.
        arm: whose students are compared; None for the one that the recipe exports, or that alone is varied.
        trials: in all, those of earlier calls included.
        prune: give up trials that are behind the median of the others, by validation images alone.
        seed: of the choice of values.
        device: as for ``Pipeline``.
        progress: told of everything that takes time.
        command: the command line that repeats this, for the report.

    Attributes:
        folder: of the sweep.
        record: what is kept of it.

    Raises:
        UserError: if the recipe does not take the values, or there is no such arm.
    """

    def __init__(
        self,
        recipe: Recipe,
        space: Space,
        out: Path | str,
        *,
        arm: str | None = None,
        trials: int = 20,
        prune: bool = True,
        seed: int = 0,
        device: str = "auto",
        progress: Progress,
        command: str = "",
    ) -> None:
        check_space(recipe, space)
        self._recipe, self._runs, self._trials, self._seed = recipe, open_runs(out), trials, seed
        self._device, self._progress, self._command = device, progress, command
        self._arm = chosen_arm(recipe, space, arm)
        self._first = self._pipeline(recipe, None)
        self._first.probe()
        splits = self._first.splits
        if not len(splits.validation):
            raise UserError("a sweep chooses by validation images, and this recipe has none: set data.validation.")
        over = {name: str(dimension) for name, dimension in space.items()}
        key = fingerprint({"recipe": recipe.to_json(), "over": over, "arm": self._arm, "seed": seed})
        self.folder = self._runs.path / f"sweep-{recipe.name}-{key}"
        self._runs.get(self._file(RECORD))
        figure = self._first.context.task.figure
        self.record = Record(
            recipe.name,
            self._arm,
            {"name": figure.name, "title": figure.title, "unit": figure.unit, "better": figure.larger_is_better},
            space,
            len(splits.validation),
        ).resumed(self.folder)
        # Epochs of trainings of different lengths cannot be set beside each other.
        epochs = recipe.training_of(recipe.arms[self._arm]).epochs
        comparable = prune and epochs > 1 and not any("epochs" in name for name in space)
        self._warm_up = epochs // 2 if comparable else None
        self._running: dict[int, tuple[Trial, Pipeline, Sequence[StudentStage]]] = {}
        self._looked = 0.0

    def run(self, executor: Executor) -> RunFolder:
        """Do the trials that are left, and run the best one whole, evaluation on test images and report included.

        Args:
            executor: has stages worked at.

        Returns:
            The comparison of the best one.

        Raises:
            UserError: if another process works at the same sweep, or no trial came to an end.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with (
                hold(self._runs.path / ".locks" / f"{self.folder.name}.lock"),
                self._runs.leased(self.folder.name, wait=False),
            ):
                return self._run(executor)
        except LockHeldError:
            raise UserError(f"another process works at {self.folder}: wait for it, or name another --out.") from None

    def _run(self, executor: Executor) -> RunFolder:
        self._study = Study(self.record, self._seed, self._warm_up)
        self._walk, self._workers = Walk(self._note_failure), executor.workers
        self._begun = sum(trial.state != "running" for trial in self.record.trials)
        self._again = [trial for trial in self.record.trials if trial.state == "running"]
        self._lane = beside(self._progress)
        self._lane.start(f"trials of {self._arm}", self._trials, self._begun)
        with chosen_threads(self._first.context, self._first.graph, workers=executor.workers):
            self._begin()
            while self._running:
                executor.run(self._walk, self._watch)
                self._look()
        best = self.record.best
        if best is None:
            said = next((trial.said for trial in reversed(self.record.trials) if trial.said), "none was left")
            raise UserError(f"no trial of {self.folder} came to an end; the last one: {said}")
        self._lane.finish(f"best of {len(self.record.trials)}: {in_words(best)}")
        comparison = self._pipeline_of(best).run(executor)
        self.record.chosen, self.record.comparison = best.number, comparison.path.name
        self._keep()
        return comparison

    def _keep(self) -> None:
        self.record.write(self.folder)
        self._runs.put(self._file(RECORD))

    def hand_on_page(self) -> None:
        """Hand on the page that was written into the folder, where run folders lie elsewhere."""
        self._runs.put(self._file("sweep.html"))

    def _file(self, name: str) -> str:
        return f"{self.folder.name}/{name}"

    def _pipeline(self, recipe: Recipe, splits: Splits | None) -> Pipeline:
        return Pipeline(
            recipe, self._runs, device=self._device, progress=self._progress, command=self._command, splits=splits
        )

    def _pipeline_of(self, trial: Trial) -> Pipeline:
        """Of a trial's recipe, with the images that were read already unless it reads others."""
        recipe = self._recipe.with_values(trial.values)
        return self._pipeline(recipe, self._first.splits if recipe.data == self._recipe.data else None)

    def _watch(self) -> None:
        if time.monotonic() - self._looked > _SECONDS:
            self._look()

    def _look(self) -> None:
        """See how trials stand, note which have ended, and begin others."""
        self._looked = time.monotonic()
        for trial, pipeline, students in list(self._running.values()):
            self._look_at(trial, pipeline, students)
            if trial.state == "running" and len(trial.seeds) == len(students):
                trial.figure = math.fsum(trial.seeds) / len(students)
                self._end(trial, "complete")
        self._begin()

    def _look_at(self, trial: Trial, pipeline: Pipeline, students: Sequence[StudentStage]) -> None:
        """Note the figures of the epochs that have ended, one seed after another."""
        figure = self.record.figure["name"]
        epochs = pipeline.recipe.training_of(pipeline.recipe.arms[self._arm]).epochs
        for position, student in enumerate(students):
            begun = (self._runs.path / student.folder_name / "run.json").is_file()
            if position < len(trial.seeds) or (student.folder_name in self._walk and not begun):
                continue
            folder = student.open(pipeline.context)
            finished = student.folder_name not in self._walk and folder.complete
            for record in folder.records():
                value = (record.get("validation") or {}).get(figure)
                step = position * epochs + record.get("epoch", 0)
                if record["type"] == "epoch" and value is not None and step not in trial.steps:
                    until_now = [*trial.seeds, value]
                    # Step by step, so that what is given up does not depend on when somebody looks.
                    if self._study.report(trial, step, math.fsum(until_now) / len(until_now)):
                        self._end(trial, "pruned")
                        return
            if not finished:
                return
            value = (folder.result().get("validation") or {}).get(figure)
            if value is None:
                self._fail(trial, f"{student.folder_name} has no {figure} on validation images")
                return
            trial.seeds.append(value)

    def _begin(self) -> None:
        """Begin as many trials as are to be worked at at the same time."""
        while len(self._running) < self._workers and (self._again or self._begun < self._trials):
            trial = self._again.pop(0) if self._again else self._study.ask()
            self._begun += 1
            try:
                pipeline = self._pipeline_of(trial)
                students = [pipeline.graph.students[self._arm, seed] for seed in pipeline.recipe.seeds]
            except UserError as error:
                self._fail(trial, first_line(error))
                continue
            self._running[trial.number] = trial, pipeline, students
            self._walk.add(students, pipeline.context)
            self._keep()

    def _end(self, trial: Trial, state: Literal["complete", "pruned", "failed"]) -> None:
        trial.state = state
        self._running.pop(trial.number, None)
        self._walk.keep([student for _, _, students in self._running.values() for student in students])
        self._study.tell(trial)
        self._keep()
        self._lane.advance(1, f"trial {trial.number} {state}")

    def _fail(self, trial: Trial, said: str) -> None:
        trial.said, trial.seeds = said, []
        self._end(trial, "failed")

    def _note_failure(self, task: Task, outcome: Outcome) -> None:
        """End the trials that need what failed, if their values may be the reason."""
        error = outcome.error
        if not isinstance(error, UserError):
            outcome.raise_error()
        for trial, _, students in list(self._running.values()):
            if task.name in {stage.folder_name for stage in in_order(students)}:
                self._fail(trial, first_line(error))


def in_words(trial: Trial) -> str:
    """The values of a trial."""
    shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in trial.values.items()}
    return ", ".join(f"{name}={value}" for name, value in shown.items())


def chosen_arm(recipe: Recipe, space: Space, arm: str | None) -> str:
    """The arm whose students are compared.

    Args:
        recipe: what is varied.
        space: field path -> values.
        arm: the one that was named; None for the one that the recipe exports, or that alone is varied.

    Raises:
        UserError: if there is no such arm, or several that might be meant.
    """
    if arm is not None and arm not in recipe.arms:
        raise unknown("arm to compare (--arm):", arm, recipe.arms)
    varied = {path.split(".")[1] for path in space if path.startswith("arms.") and path.count(".") > 1}
    meant = [arm] if arm else [recipe.export] if recipe.export != BEST else [*varied] or list(recipe.export_candidates)
    if len(meant) != 1:
        raise UserError(f"trials are compared by the students of one arm: name one of {', '.join(meant)} with --arm.")
    return str(meant[0])
