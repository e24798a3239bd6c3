"""What a comparison's run folders say, as plain dataclasses: read here once, for every table and figure.

Nothing is recomputed: accuracies, NLL and ECE are the ones that the evaluation stored. What cannot be found
(a folder that was moved away, a run that never finished) is left out and named in ``Comparison.missing``.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from persistill.errors import UserError
from persistill.report.choice import Choice
from persistill.report.task_report import CLASSIFICATION, Measure, TaskReport
from persistill.run_folder import RunFolder


@dataclass(frozen=True)
class Sample:
    """One figure, measured once a seed.

    Attributes:
        values: one a seed, in the order of the seeds; nan where a run's figure was not finite.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean; nan for an empty sample."""
        return math.fsum(self.values) / len(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation (divided by n - 1); None for fewer than two values."""
        if len(self.values) < 2:
            return None
        if not all(math.isfinite(value) for value in self.values):
            return math.nan
        return statistics.stdev(self.values)


@dataclass(frozen=True)
class Epoch:
    """What was logged at the end of an epoch.

    Attributes:
        number: counts from 1.
        loss: weighted sum of the terms, mean over the epoch.
        terms: term name -> mean over the epoch, without its weight.
        weights: term name -> weight.
        train_accuracy: fraction, on training images.
        validation: figures on validation images, by the names of the task's measures.
    """

    number: int
    loss: float
    terms: Mapping[str, float]
    weights: Mapping[str, float]
    train_accuracy: float
    validation: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """One trained and evaluated network.

    Attributes:
        seed: from which it was trained; None if it was not trained here.
        folder: name of its run folder.
        evaluation: the folder of its evaluation.
        score: the task's one figure on the test images, a fraction.
        validation: the same on the validation images, after the last epoch; nan if it was not measured.
        noise: standard deviation of Gaussian noise on images in [0, 1] -> the same figure.
        corrupted: corruption -> severity -> the same figure; empty where it was not measured.
        images: number of test images.
        parameters: of the network; None if unknown.
        epochs: for which it was trained; None if it was not trained here.
        train_seconds: wall-clock of training; nan if it was not trained here.
        evaluation_seconds: wall-clock of the evaluation.
        curve: what was logged, one entry an epoch.
        metrics: all that the evaluation stored, by the names of ``docs/evaluation.md``.
        device: "cpu" or "cuda", on which it was trained; None if that was not recorded.
        threads: of the processor, with which it was trained; None likewise.
        notes: of a network out of a file, how its images and classes are not as those of the recipe, a clause each.
    """

    seed: int | None
    folder: str
    evaluation: Path
    score: float
    noise: Mapping[float, float]
    corrupted: Mapping[str, Mapping[str, float]]
    images: int
    parameters: int | None
    epochs: int | None
    train_seconds: float
    evaluation_seconds: float
    curve: tuple[Epoch, ...]
    validation: float = math.nan
    metrics: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    threads: int | None = None
    notes: tuple[str, ...] = ()

    def figure(self, *path: str) -> float:
        """One stored figure, ``figure("calibrated", "nll")``; nan where it was not measured or not finite."""
        value: Any = self.metrics
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, float | int) else math.nan


@dataclass(frozen=True)
class ArmSummary:
    """All runs of one arm, or one teacher.

    Attributes:
        name: of the arm or teacher.
        role: what it is in the comparison.
        runs: complete runs in the order of the seeds; may be empty.
    """

    name: str
    role: Literal["student", "teacher"]
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """The name by which tables and figures call it."""
        return self.name if self.role == "student" else f"teacher: {self.name}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the complete runs."""
        return tuple(run.seed for run in self.runs if run.seed is not None)

    @property
    def score(self) -> Sample:
        """The task's one figure on the test images, fractions."""
        return Sample(tuple(run.score for run in self.runs))

    def of(self, measure: Measure) -> Sample:
        """A figure on the test images, one value a run; nan where a run's figure was not finite."""
        return Sample(tuple(run.figure(*measure.path) for run in self.runs))

    def figures(self, *path: str) -> Sample:
        """A stored figure of every run, by its names; empty unless all have it."""
        values = tuple(run.figure(*path) for run in self.runs)
        return Sample(values if all(map(math.isfinite, values)) else ())

    @property
    def validation(self) -> Sample:
        """The same on the validation images; empty unless all runs were validated."""
        values = tuple(run.validation for run in self.runs)
        return Sample(values if all(map(math.isfinite, values)) else ())

    @property
    def noise(self) -> dict[float, Sample]:
        """Strength -> the task's one figure, for the strengths that every run was measured at, ascending."""
        shared = set.intersection(*(set(run.noise) for run in self.runs)) if self.runs else set()
        return {level: Sample(tuple(run.noise[level] for run in self.runs)) for level in sorted(shared)}

    @property
    def train_seconds(self) -> Sample:
        """Wall-clock of training in seconds, of the runs that were trained here."""
        return Sample(tuple(run.train_seconds for run in self.runs if math.isfinite(run.train_seconds)))

    @property
    def parameters(self) -> int | None:
        """Number of parameters; None if unknown."""
        return next((run.parameters for run in self.runs if run.parameters is not None), None)


@dataclass(frozen=True)
class View:
    """What a teacher saw beside the images.

    Attributes:
        name: as in the recipe.
        folder: its run folder.
        shape: (channels, height, width) of one sample.
        groups: names of groups of channels (scans, dimensions), each with one channel for every channel of the image.
        settings: how it was made, fitted values included.
        explanation: how it is to be read, a few sentences.
        seconds: wall-clock of making it.
    """

    name: str
    folder: Path
    shape: tuple[int, ...]
    groups: tuple[str, ...]
    settings: Mapping[str, Any]
    explanation: str
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A whole comparison.

    Attributes:
        recipe: its name.
        folder: the comparison's run folder.
        command: what was typed to run it.
        classes: names of the classes, in the order of their numbers; empty if they have none.
        settings: the resolved recipe, as JSON values.
        arms: students, in the order of the recipe; the first is the baseline.
        teachers: in the order of the recipe.
        views: in the order of the recipe.
        export: result of the export with its folder's name under "folder"; None if nothing was exported.
        seconds: wall-clock of all stages, added up.
        about: date ("created"), "software" and "hardware", as in run.json.
        missing: one sentence for each folder or file that should be there and is not.
        notes: what is odd about the images, a sentence each.
        relative_error: run folder -> mean corruption error relative to the baseline's (1 is the baseline), where
            the baseline made an error.
        likeness: student's run folder -> teacher's name -> "agreement", "kl", "cka" and "diagram_distance".
        costs: teacher's name, or "" for the student -> what such a network costs to run.
        task: which figures there are, and which sections.
        choice: which student was exported; None in comparisons that exported none.
    """

    recipe: str
    folder: Path
    command: str
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    arms: tuple[ArmSummary, ...]
    teachers: tuple[ArmSummary, ...]
    views: tuple[View, ...]
    export: Mapping[str, Any] | None
    seconds: float
    about: Mapping[str, Any]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()
    relative_error: Mapping[str, float] = field(default_factory=dict)
    likeness: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    costs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    task: TaskReport = CLASSIFICATION
    choice: Choice | None = None

    @property
    def everyone(self) -> tuple[ArmSummary, ...]:
        """Students and then teachers, those that have at least one complete run."""
        return tuple(arm for arm in (*self.arms, *self.teachers) if arm.runs)

    @property
    def exported(self) -> str:
        """Name of the arm whose student is exported; empty without one."""
        return "" if self.choice is None else self.choice.student.arm

    def cost(self, arm: ArmSummary) -> Mapping[str, Any]:
        """What a network of this arm costs to run; empty if it was not measured."""
        return self.costs.get("" if arm.role == "student" else arm.name, {})

    def class_name(self, number: int) -> str:
        """The name of a class, or its number where it has none."""
        return self.classes[number] if 0 <= number < len(self.classes) else str(number)


def read(folder: Path) -> Comparison:
    """Read a comparison and the folders beside it that it names.

    Args:
        folder: a run folder of the kind "comparison".

    Raises:
        UserError: if it is no such folder, or if the comparison has not finished.
    """
    from persistill import schemas  # noqa: PLC0415 - pydantic is slow to import

    run_folder = RunFolder.open(folder)
    if run_folder.kind != "comparison":
        raise UserError(
            f"{folder} holds a run of the kind {run_folder.kind!r}, and a report is made from one "
            "of the kind 'comparison'. Give the folder whose name starts with 'comparison-', beside it."
        )
    result = run_folder.result()
    task = TaskReport.from_json(result["task"]) if "task" in result else CLASSIFICATION
    reader = _Reader(folder.resolve().parent, task)
    settings = run_folder.inputs.get("recipe", {})
    schemas.check(schemas.StoredRecipe, settings, f"the recipe in {folder / 'run.json'}", "Run the recipe again.")
    teacher_seed = settings.get("teacher_seed")
    teachers = tuple(
        ArmSummary(name, "teacher", reader.runs(f"teacher {name!r}", [{**entry, "seed": teacher_seed}]))
        for name, entry in result.get("teachers", {}).items()
    )
    rows: Sequence[Mapping[str, Any]] = result.get("rows", [])
    arms = tuple(
        ArmSummary(name, "student", reader.runs(f"arm {name!r}", [row for row in rows if row["arm"] == name]))
        for name in dict.fromkeys(row["arm"] for row in rows)
    )
    views = tuple(
        view for name, place in result.get("views", {}).items() if (view := reader.view(name, place)) is not None
    )
    export = reader.result("the export", result["export"]) if result.get("export") else None
    costs = result.get("costs") or {}
    places = {**({"": costs["student"]} if "student" in costs else {}), **costs.get("teachers", {})}
    return Comparison(
        recipe=str(result.get("recipe", run_folder.name)),
        folder=folder,
        command=str(result.get("command", "")),
        classes=tuple(str(name) for name in result.get("classes") or ()),
        settings=settings,
        arms=arms,
        teachers=teachers,
        views=tuple(view for view in views if view is not None),
        export=None if export is None else {**export, "folder": result["export"]},
        # The export comes after the comparison, which knows what all other stages took.
        seconds=_number(result.get("seconds")) + (_number(export.get("seconds")) if export else 0.0),
        about={key: run_folder.about.get(key, {}) for key in ("created", "software", "hardware")},
        # Reads, and so may add to what is missing.
        costs={name: found for name, place in places.items() if (found := reader.result("a cost", place)) is not None},
        relative_error={
            name: value
            for name, value in (result.get("relative_corruption_error") or {}).get("of", {}).items()
            if value is not None
        },
        likeness=result.get("likeness") or {},
        missing=tuple(reader.missing),
        notes=tuple(map(str, result.get("notes") or ())),
        task=task,
        choice=Choice.from_json(result["choice"]) if result.get("choice") else None,
    )


class _Reader:
    """Reads folders below one root and remembers what was not there."""

    def __init__(self, root: Path, task: TaskReport) -> None:
        self.root, self._task = root, task
        self.missing: list[str] = []

    def result(self, what: str, name: str) -> dict[str, Any] | None:
        try:
            return self._open(name).result()
        except UserError as error:
            self.missing.append(f"Left out {what}: {error}")
            return None

    def runs(self, what: str, entries: Iterable[Mapping[str, Any]]) -> tuple[Run, ...]:
        found = []
        for entry in entries:
            one = what if entry["seed"] is None else f"{what}, seed {entry['seed']}"
            try:
                found.append(self._run(entry))
            except UserError as error:
                self.missing.append(f"Left out {one}: {error}")
        return tuple(found)

    def view(self, name: str, place: str) -> View | None:
        result = self.result(f"view {name!r}", place)
        if result is None:
            return None
        return View(
            name=name,
            folder=self.root / place,
            shape=tuple(result.get("shape", ())),
            groups=tuple(result.get("groups", ())),
            settings=result.get("settings", {}),
            explanation=str(result.get("explanation", "")),
            seconds=_number(result.get("seconds")),
        )

    def _run(self, entry: Mapping[str, Any]) -> Run:
        evaluation = self._open(entry["evaluation"])
        measured = evaluation.result()
        metrics = measured.get("metrics", {})
        run_folder = self._open(entry["run"])
        trained = run_folder.result()
        # Zero epochs: its weights came from elsewhere, and the seconds are those of copying them.
        here = trained.get("epochs") != 0
        computed = (run_folder.about.get("context") or {}).get("computed") or {}
        run = Run(
            seed=entry["seed"] if here else None,
            folder=entry["run"],
            evaluation=evaluation.path,
            score=math.nan,
            noise={float(level): _number(value) for level, value in metrics.get("noise", {}).items()},
            corrupted=(metrics.get("corruptions") or {}).get(self._task.figure.name) or {},
            images=int(measured.get("images", 0)),
            parameters=trained.get("parameters"),
            notes=tuple(map(str, trained.get("notes") or ())),
            epochs=trained.get("epochs") if here else None,
            train_seconds=_number(trained.get("seconds")) if here else math.nan,
            evaluation_seconds=_number(measured.get("seconds")),
            curve=_curve(run_folder.records()),
            validation=_number((trained.get("validation") or {}).get(self._task.figure.name)),
            metrics=metrics,
            device=computed.get("device"),
            threads=computed.get("threads"),
        )
        return replace(run, score=run.figure(*self._task.figure.path))

    def _open(self, name: str) -> RunFolder:
        return RunFolder.open(self.root / name)


def _curve(records: Iterable[Mapping[str, Any]]) -> tuple[Epoch, ...]:
    epochs = {
        record["epoch"]: Epoch(
            number=record["epoch"],
            loss=_number(record.get("loss")),
            terms={name: _number(value) for name, value in record.get("terms", {}).items()},
            weights={name: _number(value) for name, value in record.get("weights", {}).items()},
            train_accuracy=_number(record.get("train_accuracy")),
            validation={name: _number(value) for name, value in (record.get("validation") or {}).items()},
        )
        for record in records
        if record.get("type") == "epoch"
    }
    return tuple(epochs[number] for number in sorted(epochs))


def _number(value: float | None) -> float:
    """Run folders hold null where a figure was not finite."""
    return math.nan if value is None else float(value)
