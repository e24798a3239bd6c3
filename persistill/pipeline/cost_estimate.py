"""What a recipe will cost, measured beforehand: every stage is run on a few images, and scaled up.

A first dry run of one step, which allocates and compiles, is not measured.
"""

import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from persistill.config import Train
from persistill.data import Splits
from persistill.data.views.storage import FIT_IMAGES
from persistill.pipeline.dry_run import LEFT_OUT, DryRun, Measured
from persistill.pipeline.export_cost import export_seconds, running_seconds
from persistill.pipeline.network_stage import NetworkStage
from persistill.pipeline.runner import Pipeline
from persistill.pipeline.stage import Stage
from persistill.pipeline.stress_cost import corruption_seconds, gradient_seconds, stress_seconds
from persistill.pipeline.thread_choice import chosen_threads
from persistill.utils.progress import Progress, Silent
from persistill.utils.thread_count import all_threads

STEPS = 2
"""Steps of each training that are measured, all of them and their batches: one would find its batch made beforehand."""
_WARM, _SLOW = 8, 2.0
"""Images in a batch of the dry run that is not measured, and seconds of a step from which on one alone is measured."""

_UNMEASURED = {"export": 10.0, "cost": 3.0}
"""Seconds of these stages where nothing else is left to do, and nothing is measured."""
SIMILARITY = "evaluate.similarity=false"
"""The setting that leaves out how alike students and teachers are."""
_MAP, _PAIR, _PAGE = 2.0, 0.2, 3.0
"""Seconds of a comparison: to map the embeddings of a network, to set a student beside a teacher, and for the rest."""


@dataclass(frozen=True)
class Cost:
    """What is left to do of one stage.

    Attributes:
        stage: the stage.
        steps: of an optimizer; None where there is none.
        seconds: wall-clock.
        bytes: that its run folder will take.
        complete: whether it is done already, and costs nothing.
        savings: a setting, as it is typed -> the seconds of these that it would save.
    """

    stage: Stage
    steps: int | None = None
    seconds: float = 0.0
    bytes: int = 0
    complete: bool = False
    savings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """What a recipe will cost.

    Attributes:
        costs: stage by stage, in the order in which they run.
        memory: highest use of memory in the dry run, of the whole process, in bytes; None if it cannot be told here,
            or nothing had to be measured.
        device_memory: likewise of the GPU, what torch allocated; None without one.
        dry_run_seconds: wall-clock of the dry run; 0 if nothing had to be measured.
    """

    costs: tuple[Cost, ...]
    memory: int | None = None
    device_memory: int | None = None
    dry_run_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall-clock of all that is left to do."""
        return sum(cost.seconds for cost in self.costs)

    @property
    def savings(self) -> dict[str, float]:
        """A setting, as it is typed -> the seconds that it would save."""
        found: Counter[str] = Counter()
        for cost in self.costs:
            found.update(cost.savings)
        return {setting: seconds for setting, seconds in found.items() if seconds}

    @property
    def bytes(self) -> int:
        """Disk that all that is left to do will take."""
        return sum(cost.bytes for cost in self.costs)


def estimate(pipeline: Pipeline, progress: Progress | None = None) -> Estimate:
    """Measure what the stages of a recipe will cost here.

    Nothing is run if only export and report are left to do.

    Args:
        pipeline: the recipe on its way.
        progress: told how many stages were measured.

    Raises:
        UserError: if networks, views and methods do not fit together.
    """
    graph, stages = pipeline.graph, pipeline.stages()
    left = {stage.key for stage in stages if not stage.complete(pipeline.context)}
    began, costs, peak = time.perf_counter(), dict[str, Cost](), None
    measuring = any(stage.key in left and stage.kind not in LEFT_OUT for stage in stages)
    if measuring:
        threads = chosen_threads(pipeline.context, graph, keep=False)
        with threads, tempfile.TemporaryDirectory(prefix="persistill-dry-run-") as folder:
            costs, peak = _measure(pipeline, Path(folder), progress or Silent())
    known = {stage.key: Cost(stage, seconds=_UNMEASURED.get(stage.kind, 0.0)) for stage in stages}
    teachers, arms = len(pipeline.recipe.teachers), len(pipeline.recipe.arms)
    similar = _PAIR * teachers * len(graph.students) if pipeline.recipe.evaluate.similarity else 0.0
    seconds = _MAP * (teachers + arms) + similar + _PAGE
    known[graph.comparison.key] = Cost(graph.comparison, seconds=seconds, savings={SIMILARITY: similar})
    return Estimate(
        tuple({**known, **costs}[stage.key] if stage.key in left else Cost(stage, complete=True) for stage in stages),
        _memory() if measuring else None,
        peak,
        time.perf_counter() - began if measuring else 0.0,
    )


def _measure(pipeline: Pipeline, folder: Path, progress: Progress) -> tuple[dict[str, Cost], int | None]:
    """Key of a stage -> its cost; and the most memory of the GPU, None without one."""
    pipeline.probe()
    cuda = pipeline.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(pipeline.device)
    # On a GPU, memory and kernels are chosen by the shape of a batch: after a smaller one they would be chosen again.
    first = DryRun(pipeline, folder / "first", 1, batch=None if cuda else _WARM)
    progress.start("measuring a few steps of each training", 2 * len(first.stages))
    first.run(progress)
    second = DryRun(pipeline, folder / "second", STEPS if first.step_seconds(pipeline) < _SLOW else 1)
    second.run(progress)
    progress.finish()
    corruption = corruption_seconds(pipeline.recipe.evaluate, pipeline.splits.test)
    costs = _once_for_all(pipeline, second) + _of_networks(pipeline, second, corruption) + _for_int8(pipeline, second)
    costs += _at_the_end(pipeline, second)
    memory = torch.cuda.max_memory_allocated(pipeline.device) if cuda else None
    return {cost.stage.key: cost for cost in costs}, memory


def _once_for_all(real: Pipeline, dry: DryRun) -> list[Cost]:
    """Costs of views, stored features and preparations."""
    size, part, graph, small = _counts(real.splits), _counts(dry.splits), real.graph, dry.pipeline.graph
    everything, trained_on = sum(size.values()) / sum(part.values()), size["train"] / part["train"]
    costs = []
    for name, view in graph.views.items():
        measured = dry.measured(small.views[name])
        images = sum(size.values()) + min(FIT_IMAGES, size["train"])
        costs.append(Cost(view, None, measured.unit * images, round(measured.bytes * everything)))
    for name, features in graph.features.items():
        measured = dry.measured(small.features[name])
        seconds = measured.around + measured.counted * trained_on
        costs.append(Cost(features, None, seconds, round(measured.bytes * trained_on)))
    for place, preparation in graph.preparations.items():
        measured = dry.measured(small.preparations[place])
        costs.append(Cost(preparation, None, measured.seconds * trained_on, measured.bytes))
    return costs


def _of_networks(real: Pipeline, dry: DryRun, corruption: float) -> list[Cost]:
    """Costs of training and evaluating teachers and students.

    Args:
        real: the recipe.
        dry: its dry run.
        corruption: seconds in which an image is corrupted once.
    """
    recipe, graph, small, size = real.recipe, real.graph, dry.pipeline.graph, _counts(real.splits)
    first = next(iter(small.students.values()))
    networks: list[tuple[NetworkStage, NetworkStage, NetworkStage, Train | None]] = []
    for name, teacher in graph.teachers.items():
        training = None if teacher.settings.weights is not None else recipe.training_of(teacher.settings)
        networks.append((teacher, small.teachers[name], small.teachers[name], training))
    for (arm, _), student in graph.students.items():
        networks.append((student, small.students[arm, recipe.seeds[0]], first, recipe.training_of(student.arm)))
    settings = real.context.task.applicable(real.context.data.evaluate)
    costs, gradients = [], dict[str, float]()
    for stage, trained, asked, train in networks:
        evaluation = small.evaluations[asked.key]
        measured, answer = dry.measured(trained), dry.answer(evaluation)
        if train is None:
            costs.append(Cost(stage, None, measured.seconds, measured.bytes))
        else:
            costs.append(_training(stage, train, measured, answer, size))
        stress: Mapping[str, float] = {}
        if not stage.view.stored:
            if asked.key not in gradients:
                gradients[asked.key] = _gradient(dry, asked) if settings.attacks else 0.0
            gradient = gradients[asked.key]
            stress = stress_seconds(settings, size["test"], answer=answer, gradient=gradient, corruption=corruption)
        seconds = dry.measured(evaluation).around + answer * (size["test"] + size["validation"])
        taken = dry.measured(evaluation).bytes * size["test"] / len(dry.splits.test)
        savings = {setting: spent for setting, spent in stress.items() if setting}
        total = seconds + sum(stress.values())
        costs.append(Cost(graph.evaluations[stage.key], None, total, round(taken), savings=savings))
    return costs


def _gradient(dry: DryRun, trained: NetworkStage) -> float:
    """Seconds in which the gradient of a network that sees images is taken at one."""
    pipeline = dry.pipeline
    network = trained.network(pipeline.context)[0].to(pipeline.device)
    mean, std = (torch.tensor(numbers, device=pipeline.device)[:, None, None] for numbers in pipeline.normalization)

    def answer(images: Tensor) -> Tensor:
        logits: Tensor = network((images - mean) / std).logits
        return logits.float()

    return gradient_seconds(answer, dry.splits.test)


def _for_int8(real: Pipeline, dry: DryRun) -> list[Cost]:
    """The cost of training the exported student on for its int8 file, where the recipe asks for that."""
    stage, small = real.graph.quantized, dry.pipeline.graph
    if stage is None or small.quantized is None:
        return []
    # Which student it will be is not known yet: the cost is that of the one which the dry run chose.
    settings = real.recipe.int8_training(small.choice.chosen(dry.pipeline.context).arm_name)
    assert settings is not None
    answer = dry.answer(small.evaluations[next(iter(small.students.values())).key])
    return [_training(stage, settings, dry.measured(small.quantized), answer, _counts(real.splits))]


def _at_the_end(real: Pipeline, dry: DryRun) -> list[Cost]:
    """The costs of the export, and of measuring what networks cost to run."""
    graph, small = real.graph, dry.pipeline.graph
    networks: dict[str, NetworkStage] = {"": next(iter(small.students.values())), **small.teachers}
    counts = len({1, all_threads()}) if real.device.type == "cpu" else 1
    running = [
        Cost(graph.costs[name], seconds=running_seconds(dry.answer(small.evaluations[network.key]), counts))
        for name, network in networks.items()
        if name in graph.costs
    ]
    return [Cost(graph.exported, seconds=export_seconds(real.context)), *running]


def _training(stage: Stage, settings: Train, measured: Measured, answer: float, size: Mapping[str, int]) -> Cost:
    """The cost of training a network.

    Args:
        stage: the stage.
        settings: of the training.
        measured: of its dry run.
        answer: seconds in which the network answers for an image.
        size: of the splits.
    """
    steps = settings.epochs * (size["train"] // settings.batch_size)
    seconds = measured.around + steps * measured.unit + settings.epochs * size["validation"] * answer
    return Cost(stage, steps, seconds, measured.bytes)


def _counts(splits: Splits) -> dict[str, int]:
    return {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}


def _memory() -> int | None:
    """The most memory that this process has used so far; None where the system does not tell."""
    with contextlib.suppress(ImportError):
        import resource  # noqa: PLC0415 - there is none on Windows

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
    return None
