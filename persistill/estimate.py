"""What a recipe will cost, measured beforehand: every stage is rehearsed on a few pictures, and scaled up.

The rehearsal is the pipeline itself, on real pictures of the recipe in batches of the real size, for one epoch of a few
steps and one seed, in a folder that is removed. So whatever a step costs - loading, augmentation, persistence images,
teachers, losses, optimiser - is in it, on the machine at hand. A first pass of one step, which allocates and compiles,
is not measured.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from persistill import runs
from persistill.data import Pictures, Splits
from persistill.data.views import FIT_PICTURES
from persistill.pipeline import Pipeline
from persistill.progress import Progress, Silent
from persistill.recipe import Recipe, Train
from persistill.runs import RunFolder
from persistill.stages import Stage
from persistill.training import CHECKPOINT

STEPS = 2
"""Steps of each training that are measured, all of them and their batches: one would find its batch made beforehand."""

_PIXELS = 2**18
"""A batch that is evaluated has so many in all, or 16 pictures."""
_LEAST, _MOST, _SECONDS = 4, 256, 0.05
"""Test pictures that are attacked and corrupted: as many as a network answers in so many seconds, within two bounds.
Few would take as long as many where each call costs more than a picture."""
_KNOWN = {"export": 8.0, "cost": 10.0, "comparison": 3.0}
"""Seconds of the stages that are not rehearsed, because they hardly depend on the recipe."""


@dataclass(frozen=True)
class Cost:
    """What is left to do of one stage.

    Attributes:
        stage: the stage.
        steps: of an optimiser; None where there is none.
        seconds: wall-clock.
        bytes: that its run folder will take.
        complete: whether it is done already, and costs nothing.
    """

    stage: Stage
    steps: int | None = None
    seconds: float = 0.0
    bytes: int = 0
    complete: bool = False


@dataclass(frozen=True)
class Estimate:
    """What a recipe will cost.

    Attributes:
        costs: stage by stage, in the order in which they run.
        memory: highest use of memory in the rehearsal, of the whole process, in bytes; None if it cannot be told here,
            or nothing had to be rehearsed.
        device_memory: likewise of the GPU, what torch allocated; None without one.
        rehearsal: wall-clock of the rehearsal, in seconds; 0 if nothing had to be rehearsed.
    """

    costs: tuple[Cost, ...]
    memory: int | None = None
    device_memory: int | None = None
    rehearsal: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall-clock of all that is left to do."""
        return sum(cost.seconds for cost in self.costs)

    @property
    def bytes(self) -> int:
        """Disk that all that is left to do will take."""
        return sum(cost.bytes for cost in self.costs)


def estimate(pipeline: Pipeline, progress: Progress | None = None) -> Estimate:
    """Measure what the stages of a recipe will cost here.

    Nothing is rehearsed if only export and report are left to do.

    Args:
        pipeline: the recipe on its way.
        progress: told how many stages were rehearsed.

    Raises:
        UserError: if networks, views and methods do not fit together.
    """
    stages = pipeline.stages()
    left = {stage.key for stage in stages if not (pipeline.out / stage.folder_name / "done.json").is_file()}
    began, costs, peak = time.perf_counter(), dict[str, Cost](), None
    rehearsed = any(stage.key in left and stage.kind not in _KNOWN for stage in stages)
    if rehearsed:
        with tempfile.TemporaryDirectory(prefix="persistill-rehearsal-") as folder:
            costs, peak = _rehearse(pipeline, Path(folder), progress or Silent())
    known = {stage.key: Cost(stage, seconds=_KNOWN.get(stage.kind, 0.0)) for stage in stages}
    return Estimate(
        tuple({**known, **costs}[stage.key] if stage.key in left else Cost(stage, complete=True) for stage in stages),
        _memory() if rehearsed else None,
        peak,
        time.perf_counter() - began if rehearsed else 0.0,
    )


def _rehearse(pipeline: Pipeline, folder: Path, progress: Progress) -> tuple[dict[str, Cost], int | None]:
    """Key of a stage -> its cost; and the most memory of the GPU, None without one."""
    pipeline.probe()
    cuda = pipeline.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(pipeline.device)
    first = _Rehearsal(pipeline, folder, 1, evaluated=0)
    progress.start(f"measuring {STEPS} steps of each training", 2 * len(first.stages))
    first.run(progress)
    evaluated = max(_LEAST, min(_MOST, int(_SECONDS / first.slowest_answer())))
    second = _Rehearsal(pipeline, folder, STEPS, evaluated=evaluated)
    second.run(progress)
    progress.finish("")
    return second.costs(), torch.cuda.max_memory_allocated(pipeline.device) if cuda else None


class _Stopwatch:
    """A progress that adds up how long units took, from the start of their stage to the last of them.

    Args:
        wait: waits for the device.

    Attributes:
        units: done.
        seconds: that they took.
    """

    def __init__(self, wait: Callable[[], None]) -> None:
        self._wait, self._last = wait, 0.0
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.units, self.seconds = 0, 0.0

    def start(self, stage: str, total: int, done: int = 0) -> None:  # noqa: ARG002 - as the protocol says
        """Begin a stage."""
        self._wait()
        self._last = time.perf_counter()

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Note what was done."""
        if units:
            self._wait()
            now = time.perf_counter()
            self.units += units
            self.seconds += now - self._last
            self._last = now

    def finish(self, note: str = "") -> None:
        """Note nothing."""


@dataclass(frozen=True)
class _Seen:
    """What was seen of a rehearsed stage.

    Attributes:
        unit: seconds of a unit (a step, a picture, a batch).
        counted: seconds of all units.
        seconds: of the whole stage.
        bytes: of its folder.
        parts: of an evaluation, by name -> seconds.
    """

    unit: float
    counted: float
    seconds: float
    bytes: int
    parts: Mapping[str, float]

    @property
    def around(self) -> float:
        """Seconds beside the units: networks are made, files are written."""
        return max(0.0, self.seconds - self.counted)


class _Rehearsal:
    """A pipeline of the same recipe on a few pictures.

    Args:
        pipeline: the real one.
        folder: an empty folder.
        steps: of each training.
        evaluated: test pictures that are attacked and corrupted.
    """

    def __init__(self, pipeline: Pipeline, folder: Path, steps: int, *, evaluated: int) -> None:
        self._real, self._folder = pipeline, folder
        self._cuda = pipeline.device.type == "cuda"
        self._watch = _Stopwatch(self._wait)
        self._recipe = _short(pipeline.recipe, pipeline.splits.test, evaluated=evaluated)
        self._splits = _few(pipeline.splits, self._recipe, steps)
        self._small = Pipeline(
            self._recipe, folder, device=pipeline.device.type, progress=self._watch, splits=self._splits
        )
        self._seen: dict[str, _Seen] = {}
        # One student tells how quickly all of them answer.
        others = {self._small.evaluations[stage.key].key for stage in list(self._small.students.values())[1:]}
        self.stages = list(
            {
                stage.key: stage
                for stage in self._small.stages()
                if stage.kind not in _KNOWN and stage.key not in others
            }.values()
        )

    def run(self, progress: Progress) -> None:
        """Work through the stages."""
        for stage in self.stages:
            self._watch.reset()
            folder, began = RunFolder.create(self._folder, stage.kind, stage.name, stage.inputs), time.perf_counter()
            result = stage.work(folder)
            self._wait()
            folder.finish({"seconds": time.perf_counter() - began, **result})
            folder.file(CHECKPOINT).unlink(missing_ok=True)
            self._seen[stage.key] = _Seen(
                unit=self._watch.seconds / max(1, self._watch.units),
                counted=self._watch.seconds,
                seconds=time.perf_counter() - began,
                bytes=sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()),
                parts={
                    path.stem.removeprefix("part-"): runs.read_json(path)["seconds"]
                    for path in folder.path.glob("part-*.json")
                },
            )
            progress.advance(1, f"{stage.kind} {stage.name}")

    def slowest_answer(self) -> float:
        """The most seconds that a network takes for a picture."""
        pictures = len(self._splits.test) + len(self._splits.validation)
        return max(seen.parts["clean"] for seen in self._seen.values() if seen.parts) / pictures

    def costs(self) -> dict[str, Cost]:
        """Key of a real stage -> what it will cost, for all stages of the kinds that were rehearsed."""
        real, small, recipe, seed = self._real, self._small, self._real.recipe, self._real.recipe.seeds[0]
        size, part = _counts(real.splits), _counts(self._splits)
        everything, trained_on = sum(size.values()) / sum(part.values()), size["train"] / part["train"]
        found: list[Cost] = []
        for name, stage in real.views.items():
            seen = self._seen[small.views[name].key]
            pictures = sum(size.values()) + min(FIT_PICTURES, size["train"])
            found.append(Cost(stage, None, seen.unit * pictures, round(seen.bytes * everything)))
        for name, stage in real.features.items():
            seen = self._seen[small.features[name].key]
            found.append(Cost(stage, None, seen.around + seen.counted * trained_on, round(seen.bytes * trained_on)))
        for place, stage in real.preparations.items():
            seen = self._seen[small.preparations[place].key]
            found.append(Cost(stage, None, seen.seconds * trained_on, seen.bytes))
        networks = [
            (stage, small.teachers[name], teacher.train or recipe.train, teacher.weights is None, teacher.view)
            for name, stage in real.teachers.items()
            for teacher in [recipe.teachers[name]]
        ]
        networks += [
            (stage, small.students[arm, seed], recipe.arms[arm].train or recipe.train, True, "image")
            for (arm, _), stage in real.students.items()
        ]
        first = next(iter(small.students.values()))
        for stage, like, train, trains, view in networks:
            asked = self._seen[small.evaluations[(like if like.kind == "teacher" else first).key].key]
            answer = asked.parts["clean"] / (part["test"] + part["validation"])
            seen = self._seen[like.key]
            if trains:
                steps = train.epochs * (size["train"] // train.batch_size)
                seconds = seen.around + steps * seen.unit + train.epochs * size["validation"] * answer
                found.append(Cost(stage, steps, seconds, seen.bytes))
            else:
                found.append(Cost(stage, None, seen.seconds, seen.bytes))
            seconds = self._evaluation(asked, answer, view)
            bytes_ = round(asked.bytes * size["test"] / part["test"])
            found.append(Cost(real.evaluations[stage.key], None, seconds, bytes_))
        return {cost.stage.key: cost for cost in found}

    def _evaluation(self, asked: _Seen, answer: float, view: str) -> float:
        """Seconds of an evaluation.

        Args:
            asked: the rehearsed one.
            answer: seconds of one picture as it is.
            view: what the network sees.
        """
        real, small = self._real.recipe.evaluate, self._recipe.evaluate
        test, validation = len(self._real.splits.test), len(self._real.splits.validation)
        seconds = asked.seconds - sum(asked.parts.values()) + (test + validation) * answer
        if view != "image":
            return seconds
        seconds += answer * (test * len(real.noise) + (real.ood_pictures if real.ood else 0))
        for name, taken in asked.parts.items():
            if name.startswith("attack-"):
                seconds += taken * len(real.attacks) * min(real.attack_pictures, test) / small.attack_pictures
            elif name.startswith("corruption-"):
                seconds += taken * min(real.corruption_pictures, test) / small.corruption_pictures
        return seconds

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self._real.device)


def _short(recipe: Recipe, test: Pictures, *, evaluated: int) -> Recipe:
    """The recipe for one epoch and one seed.

    Args:
        recipe: the real one.
        test: its test pictures, of which a batch of the evaluation takes at most half.
        evaluated: test pictures that are attacked and corrupted; 0 to leave both out.
    """
    few, affordable = min(evaluated, len(test)), max(16, _PIXELS // (test.shape[1] * test.shape[2]))
    evaluate = recipe.evaluate.model_copy(
        update={
            "noise": (),
            "attacks": recipe.evaluate.attacks[: 1 if few else 0],
            "attack_pictures": few,
            "ood": None,
            "corruptions": recipe.evaluate.corruptions if few else (),
            "corruption_pictures": few,
            "batch_size": min(recipe.evaluate.batch_size, affordable, max(1, len(test) // 2)),
        }
    )
    return recipe.model_copy(
        update={
            "train": _one_epoch(recipe.train),
            "teachers": {
                name: part.model_copy(update={"train": part.train and _one_epoch(part.train)})
                for name, part in recipe.teachers.items()
            },
            "arms": {
                name: part.model_copy(update={"train": part.train and _one_epoch(part.train)})
                for name, part in recipe.arms.items()
            },
            "seeds": recipe.seeds[:1],
            "evaluate": evaluate,
        }
    )


def _one_epoch(train: Train) -> Train:
    return train.model_copy(update={"epochs": 1})


def _few(splits: Splits, recipe: Recipe, steps: int) -> Splits:
    """Evenly spaced pictures, so that no class is left out, for so many steps."""
    stated = [*(part.train for part in recipe.teachers.values()), *(part.train for part in recipe.arms.values())]
    trainings = [recipe.train, *(train for train in stated if train is not None)]

    def some(split: Pictures, count: int) -> Pictures:
        count = min(count, len(split))
        return split.subset(torch.arange(count) * len(split) // count)

    return replace(
        splits,
        train=some(splits.train, steps * max(train.batch_size for train in trainings)),
        validation=some(splits.validation, recipe.evaluate.batch_size),
        test=some(splits.test, steps * recipe.evaluate.batch_size),
    )


def _counts(splits: Splits) -> dict[str, int]:
    return {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}


def _memory() -> int | None:
    """The most memory that this process has used so far; None where the system does not tell."""
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415 - there is none on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return None
