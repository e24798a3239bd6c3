"""A recipe run on a few images, to see what its stages cost.

It is the pipeline itself, walked by the same executor, on real images of the recipe in batches of the real size, or
of less to warm up, for one epoch of a few steps and one seed. So whatever a step costs - loading, augmentation,
persistence images, teachers, losses, optimizer - is in it, on the machine at hand.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from persistill.config import Arm, Recipe, Teacher, Train
from persistill.data import ImageDataset, Splits
from persistill.pipeline.executors import local
from persistill.pipeline.runner import Pipeline
from persistill.pipeline.stage import Stage
from persistill.run_folder import RunFolder
from persistill.utils.progress import Progress

LEFT_OUT = frozenset({"choice", "export", "cost", "comparison"})
"""Kinds of stages that hardly depend on the recipe."""
_PIXELS = 2**16
"""A batch that is evaluated has so many in all, or 16 images."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a stage.

    Attributes:
        unit: seconds of a unit (a step, an image, a batch).
        counted: seconds of all units.
        seconds: of the whole stage.
        bytes: of its folder.
    """

    unit: float
    counted: float
    seconds: float
    bytes: int

    @property
    def around(self) -> float:
        """Seconds beside the units: networks are made, files are written."""
        return max(0.0, self.seconds - self.counted)


class DryRun:
    """A recipe on a few of its images.

    Args:
        real: the recipe on its way.
        folder: for run folders.
        steps: of each training.
        batch: images in a batch at most; None for batches of the real size.

    Attributes:
        recipe: the shortened recipe.
        splits: the few images.
        pipeline: of both.
        stages: that are run: of the students' evaluations the first alone, for all are of one network.
    """

    def __init__(self, real: Pipeline, folder: Path, steps: int, batch: int | None = None) -> None:
        self._watch = _Stopwatch(real.device)
        self.recipe = _short(real.recipe, real.splits.test, batch)
        self.splits = _few(real.splits, self.recipe, steps)
        self.pipeline = Pipeline(self.recipe, folder, device=str(real.device), progress=self._watch, splits=self.splits)
        self._measured: dict[str, Measured] = {}
        graph = self.pipeline.graph
        others = {graph.evaluations[student.key].key for student in list(graph.students.values())[1:]}
        stages = {stage.key: stage for stage in graph.stages()}
        self.stages = [stage for key, stage in stages.items() if stage.kind not in LEFT_OUT and key not in others]

    def run(self, progress: Progress) -> None:
        """Run the stages, and measure each."""
        self._watch.reset()

        def done(stage: Stage, folder: RunFolder) -> None:
            self._watch.wait()
            self._measured[stage.key] = Measured(
                unit=self._watch.seconds / max(1, self._watch.units),
                counted=self._watch.seconds,
                seconds=self._watch.since_reset,
                bytes=sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()),
            )
            progress.advance(1, f"{stage.kind} {stage.name}")
            self._watch.reset()

        local.run(self.stages, self.pipeline.context, done)

    def measured(self, stage: Stage) -> Measured:
        """What was measured of a stage of the dry run's own pipeline."""
        return self._measured[stage.key]

    def step_seconds(self, real: Pipeline) -> float:
        """Seconds of the slowest step of a training, in proportion to batches of the real size."""
        graph = self.pipeline.graph
        larger = max(large / small for large, small in zip(_batches(real.recipe), _batches(self.recipe), strict=True))
        networks = (*graph.teachers.values(), *graph.students.values())
        return larger * max(self.measured(network).unit for network in networks)

    def answer(self, evaluation: Stage) -> float:
        """Seconds that a network takes for an image as it is."""
        return self.measured(evaluation).counted / (len(self.splits.test) + len(self.splits.validation))


class _Stopwatch:
    """A progress that adds up how long units took, from the start of their stage to the last of them.

    Args:
        device: that is waited for.

    Attributes:
        units: done.
        seconds: that they took.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._last = device, 0.0
        self.reset()

    def wait(self) -> None:
        """Wait until the device has done what it was told."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def reset(self) -> None:
        """Begin anew."""
        self.units, self.seconds, self._began = 0, 0.0, time.perf_counter()

    @property
    def since_reset(self) -> float:
        """Seconds since then."""
        return time.perf_counter() - self._began

    def start(self, stage: str, total: int, done: int = 0) -> None:  # noqa: ARG002 - as the protocol says
        """Begin a stage."""
        self.wait()
        self._last = time.perf_counter()

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Note what was done."""
        if units:
            self.wait()
            now = time.perf_counter()
            self.units += units
            self.seconds += now - self._last
            self._last = now

    def finish(self, note: str = "") -> None:
        """Note nothing."""


def _short(recipe: Recipe, test: ImageDataset, batch: int | None) -> Recipe:
    """The recipe for one epoch and one seed, networks asked about images as they are and no more."""
    affordable = batch or max(16, _PIXELS // (test.shape[1] * test.shape[2]))

    def short(train: Train) -> Train:
        size = min(train.batch_size, batch or train.batch_size)
        return train.model_copy(update={"epochs": 1, "batch_size": size})

    evaluate = recipe.evaluate.model_copy(
        update={
            "noise": (),
            "attacks": (),
            "ood": None,
            "corruptions": (),
            "evaluators": (),
            "batch_size": min(recipe.evaluate.batch_size, affordable, max(1, len(test) // 2)),
        }
    )
    return recipe.model_copy(
        update={
            "train": short(recipe.train),
            "teachers": {
                name: part.model_copy(update={"train": part.train and short(part.train)})
                for name, part in recipe.teachers.items()
            },
            "arms": {
                name: part.model_copy(update={"train": part.train and short(part.train)})
                for name, part in recipe.arms.items()
            },
            "seeds": recipe.seeds[:1],
            "quantize": recipe.quantize and recipe.quantize.model_copy(update={"epochs": 1}),
            "evaluate": evaluate,
        }
    )


def _few(splits: Splits, recipe: Recipe, steps: int) -> Splits:
    """Evenly spaced images, so that no class is left out, for so many steps."""
    largest = max(_batches(recipe))

    def some(split: ImageDataset, count: int) -> ImageDataset:
        count = min(count, len(split))
        return split.subset(torch.arange(count) * len(split) // count)

    return replace(
        splits,
        train=some(splits.train, steps * largest),
        validation=some(splits.validation, recipe.evaluate.batch_size),
        test=some(splits.test, steps * recipe.evaluate.batch_size),
    )


def _batches(recipe: Recipe) -> list[int]:
    """Images in a batch of each training."""
    trained: list[Teacher | Arm] = [*recipe.teachers.values(), *recipe.arms.values()]
    return [recipe.training_of(part).batch_size for part in trained]
