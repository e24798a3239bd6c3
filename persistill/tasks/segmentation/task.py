"""Semantic segmentation: one class a pixel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from persistill import data, metrics
from persistill.config import Data, Evaluate, Recipe
from persistill.data import ImageDataset, Splits
from persistill.evaluation import (
    EvaluationLoaders,
    EvaluationStep,
    Score,
    Scoring,
    collect,
    corruption_steps,
    noise_step,
)
from persistill.exporters import ExportTask
from persistill.structures import IGNORE_INDEX, Batch, Batches, ModelOutput
from persistill.tasks.base import Task
from persistill.tasks.look import Look
from persistill.tasks.measure import Measure
from persistill.tasks.networks import Networks, relative_corruption_error
from persistill.tasks.segmentation.clean import PER_IMAGE, clean_step
from persistill.tasks.segmentation.counts import figures, image_counts, ratio
from persistill.tasks.segmentation.example_script import SEGMENT
from persistill.tasks.segmentation.examples import keep_examples
from persistill.utils.progress import Progress

MIOU = Measure("miou", "mIoU")
PIXEL_ACCURACY = Measure("pixel_accuracy", "Pixel accuracy")
NLL = Measure("nll", "NLL", unit="nats", larger_is_better=False)
ECE = Measure("ece", "ECE", larger_is_better=False)


class Segmentation(Task):
    """One class a pixel: logits (B, K, H, W), targets (B, H, W), ``IGNORE_INDEX`` where a pixel has no class."""

    name = "segmentation"
    pipeline_tag = "image-segmentation"
    measures = (MIOU, PIXEL_ACCURACY, NLL)
    columns = (MIOU, PIXEL_ACCURACY, NLL, ECE)
    differences = (MIOU, PIXEL_ACCURACY)
    suggestions = ("kd", "cwd")
    sections = (
        "significance",
        "accuracy",
        "class_iou",
        "segmentation_examples",
        "published",
        "cost",
        "training",
        "calibration",
        "noise",
        "corruptions",
        "reproducibility",
    )

    def load(self, settings: Data, progress: Progress) -> Splits:
        """Images with a mask each; splits are drawn by the seed alone."""
        return data.load(settings, progress, masks=True)

    def sample(self, images: ImageDataset, count: int) -> Tensor:
        """Drawn from a fixed seed."""
        return torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].sort().values

    def image_classes(self, images: ImageDataset) -> Tensor:
        """All of one class."""
        return torch.zeros(len(images), dtype=torch.int64)

    def criterion(self, output: ModelOutput, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:
        """Cross-entropy, "ce", the mean over all pixels of the batch that have a class; 0 where none has."""
        logits = output.logits.float()
        total = F.cross_entropy(
            logits, batch.target, ignore_index=IGNORE_INDEX, reduction="sum", label_smoothing=label_smoothing
        )
        return {"ce": total / (batch.target != IGNORE_INDEX).sum().clamp(min=1)}

    def accuracy(self, output: ModelOutput, batch: Batch) -> Tensor:
        """Share of right pixels."""
        right = (output.logits.argmax(1) == batch.target).sum()
        return right / (batch.target != IGNORE_INDEX).sum().clamp(min=1)

    def observe(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Counts of pixels of each image."""
        return image_counts(output.logits, batch.target)[0]

    def validate(self, observed: Mapping[str, Any]) -> dict[str, float]:
        """Mean IoU of all images together, pixel accuracy, negative log-likelihood."""
        return figures(observed)

    def evaluation_steps(
        self, network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate, folder: Path
    ) -> list[EvaluationStep]:
        """Images as they are, noisy and corrupted. Attacks are not measured."""
        steps = [clean_step(network, material, view, settings)]
        if not data.is_stored(view):
            scoring = _MeanIoU(network, folder)
            steps += [noise_step(scoring, material, settings, sigma) for sigma in settings.noise]
            steps += corruption_steps(scoring, material, settings, folder)
        return steps

    def compare(self, networks: Networks, folder: Path, look: Look, progress: Progress) -> dict[str, Any]:
        """Images worth a look, and relative corruption errors."""
        progress.start("images worth a look", 1)
        keep_examples(folder, [networks.measured(student) for student in networks.students.values()], look)
        progress.advance(1)
        progress.finish()
        return {"relative_corruption_error": relative_corruption_error(networks, MIOU.name)}

    @property
    def export(self) -> ExportTask:
        """Files are compared by the classes of their pixels, and scored by mean IoU."""
        return ExportTask(self.name, MIOU.name, _mean_iou, "segment.py", SEGMENT, compared=64)

    def applicable(self, evaluate: Evaluate) -> Evaluate:
        """All but attacks."""
        return evaluate.model_copy(update={"attacks": ()})

    def problems(self, recipe: Recipe) -> list[str]:
        """Images of other things are not told from one's own by the pixel."""
        if recipe.evaluate.ood is None:
            return []
        return ["evaluate.ood: the task 'segmentation' measures no detection of images of other things; leave it out."]


def _mean_iou(logits: Tensor, target: Tensor) -> float:
    counts = metrics.confusion_counts(logits.argmax(1), target, logits.shape[1])
    return float(metrics.mean_iou(counts.sum(0)))


class _MeanIoU(Scoring):
    """Mean IoU, and intersections and unions of each image."""

    name = MIOU.name

    def __init__(self, network: nn.Module, folder: Path) -> None:
        self._network, self._folder = network, folder

    def score(self, loader: Batches, progress: Progress) -> Score:
        def observe(output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
            return {"miou": image_counts(output.logits, batch.target)[0]["miou"], "index": batch.index}

        found = collect(self._network, loader, data.IMAGE, observe, progress)
        return Score(ratio(found["miou"]), found["miou"].numpy(), found["index"])

    def figure(self, answers: NDArray[Any], rows: NDArray[np.int64]) -> float:  # noqa: ARG002 - they tell by themselves
        return ratio(torch.from_numpy(answers))

    def clean(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        with np.load(self._folder / PER_IMAGE) as file:
            return file["miou"], file["index"]
