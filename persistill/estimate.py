"""What a recipe will cost, measured beforehand: every stage is rehearsed on a few pictures, and scaled up.

A first rehearsal of one step, which allocates and compiles, is not measured.
"""

import contextlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from persistill.data import Splits
from persistill.data.views import FIT_PICTURES
from persistill.pipeline import Pipeline
from persistill.progress import Progress, Silent
from persistill.rehearsal import CORRUPTION, UNREHEARSED, Rehearsal
from persistill.stages import Stage

STEPS = 2
"""Steps of each training that are measured, all of them and their batches: one would find its batch made beforehand."""

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
    rehearsed = any(stage.key in left and stage.kind not in UNREHEARSED for stage in stages)
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
    # One corruption tells what a part of an evaluation costs beside the answers.
    first = Rehearsal(pipeline, folder / "first", 1, evaluated=_LEAST, corruptions=1)
    progress.start(f"measuring {STEPS} steps of each training", 2 * len(first.stages))
    first.run(progress)
    evaluated = max(_LEAST, min(_MOST, int(_SECONDS / first.slowest_answer())))
    second = Rehearsal(pipeline, folder / "second", STEPS, evaluated=evaluated)
    second.run(progress)
    progress.finish()
    costs = _once_for_all(pipeline, second) + _of_networks(pipeline, second, first.part_overhead())
    memory = torch.cuda.max_memory_allocated(pipeline.device) if cuda else None
    return {cost.stage.key: cost for cost in costs}, memory


def _once_for_all(real: Pipeline, rehearsal: Rehearsal) -> list[Cost]:
    """Costs of views, stored features and preparations."""
    size, part, small = _counts(real.splits), _counts(rehearsal.splits), rehearsal.pipeline
    everything, trained_on = sum(size.values()) / sum(part.values()), size["train"] / part["train"]
    costs = []
    for name, stage in real.views.items():
        seen = rehearsal.seen(small.views[name])
        pictures = sum(size.values()) + min(FIT_PICTURES, size["train"])
        costs.append(Cost(stage, None, seen.unit * pictures, round(seen.bytes * everything)))
    for name, stage in real.features.items():
        seen = rehearsal.seen(small.features[name])
        costs.append(Cost(stage, None, seen.around + seen.counted * trained_on, round(seen.bytes * trained_on)))
    for place, stage in real.preparations.items():
        seen = rehearsal.seen(small.preparations[place])
        costs.append(Cost(stage, None, seen.seconds * trained_on, seen.bytes))
    return costs


def _of_networks(real: Pipeline, rehearsal: Rehearsal, part_overhead: float) -> list[Cost]:
    """Costs of training and evaluating teachers and students."""
    recipe, small, size = real.recipe, rehearsal.pipeline, _counts(real.splits)
    first = next(iter(small.students.values()))
    networks = [
        (stage, small.teachers[name], small.teachers[name], teacher.train or recipe.train, teacher)
        for name, stage in real.teachers.items()
        for teacher in [recipe.teachers[name]]
    ]
    students = [
        (stage, small.students[arm, recipe.seeds[0]], first, recipe.arms[arm].train or recipe.train, None)
        for (arm, _), stage in real.students.items()
    ]
    costs = []
    for stage, trained, asked, train, teacher in [*networks, *students]:
        evaluation = small.evaluations[asked.key]
        seen, answer = rehearsal.seen(trained), rehearsal.answer(evaluation)
        if teacher is None or teacher.weights is None:
            steps = train.epochs * (size["train"] // train.batch_size)
            seconds = seen.around + steps * seen.unit + train.epochs * size["validation"] * answer
            costs.append(Cost(stage, steps, seconds, seen.bytes))
        else:
            costs.append(Cost(stage, None, seen.seconds, seen.bytes))
        sees_pictures = teacher is None or teacher.view == "image"
        seconds = _evaluation(real, rehearsal, evaluation, part_overhead, sees_pictures=sees_pictures)
        taken = rehearsal.seen(evaluation).bytes * size["test"] / len(rehearsal.splits.test)
        costs.append(Cost(real.evaluations[stage.key], None, seconds, round(taken)))
    return costs


def _evaluation(
    real: Pipeline, rehearsal: Rehearsal, evaluation: Stage, part_overhead: float, *, sees_pictures: bool
) -> float:
    """Seconds of an evaluation.

    Args:
        real: the recipe.
        rehearsal: of it.
        evaluation: the rehearsal's.
        part_overhead: seconds of a part beside its pictures.
        sees_pictures: whether the network is shown noisy, attacked and corrupted pictures.
    """
    settings, small = real.recipe.evaluate, rehearsal.recipe.evaluate
    seen, answer, test = rehearsal.seen(evaluation), rehearsal.answer(evaluation), len(real.splits.test)
    seconds = seen.seconds - sum(seen.parts.values()) + (test + len(real.splits.validation)) * answer
    if not sees_pictures:
        return seconds
    seconds += answer * (test * len(settings.noise) + (settings.ood_pictures if settings.ood else 0))
    for name, taken in seen.parts.items():
        if name.startswith("attack-"):
            attacked = min(settings.attack_pictures, test) / small.attack_pictures
            seconds += taken * len(settings.attacks) * attacked
        elif name.startswith(CORRUPTION):
            overhead = min(part_overhead, taken)
            corrupted = min(settings.corruption_pictures, test) / small.corruption_pictures
            seconds += overhead + (taken - overhead) * corrupted
    return seconds


def _counts(splits: Splits) -> dict[str, int]:
    return {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}


def _memory() -> int | None:
    """The most memory that this process has used so far; None where the system does not tell."""
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415 - there is none on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return None
