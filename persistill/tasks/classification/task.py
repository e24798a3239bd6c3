"""Classification: one class an image."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from persistill import data, metrics
from persistill.config import Data, Evaluate
from persistill.data import ImageDataset, Splits
from persistill.data.sources.inspect import require_several
from persistill.evaluation import (
    EvaluationLoaders,
    EvaluationStep,
    Score,
    Scoring,
    corruption_steps,
    noise_step,
    predict,
)
from persistill.exporters import CLASSIFY, ExportTask
from persistill.structures import Batch, Batches, ModelOutput
from persistill.tasks.base import Task
from persistill.tasks.classification.clean import PREDICTIONS, clean_step
from persistill.tasks.classification.comparison import compare
from persistill.tasks.classification.robustness import attack_step, ood_step
from persistill.tasks.look import Look
from persistill.tasks.measure import Measure
from persistill.tasks.networks import Networks
from persistill.utils.progress import Progress
from persistill.utils.registry import named

ACCURACY = Measure("accuracy", "Accuracy")
NLL = Measure("nll", "NLL", unit="nats", larger_is_better=False)
ECE = Measure("ece", "ECE", larger_is_better=False)


class Classification(Task):
    """One class an image: logits (B, K), targets (B,) class numbers from 0 to K - 1."""

    name = "classification"
    pipeline_tag = "image-classification"
    measures = (ACCURACY, NLL)
    columns = (ACCURACY, NLL, ECE)
    differences = (ACCURACY, NLL)
    suggestions = ("kd", "kd+sp", "dkd", "dist")
    sections = (
        "significance",
        "accuracy",
        "class_scores",
        "published",
        "cost",
        "training",
        "calibration",
        "selective",
        "noise",
        "corruptions",
        "adversarial_ood",
        "teacher_similarity",
        "similarity",
        "embeddings",
        "confusion",
        "hardest_images",
        "gallery",
        "only_topology",
        "reproducibility",
    )

    def load(self, settings: Data, progress: Progress) -> Splits:
        """Images with one class each; every class has its share of every split."""
        splits = data.load(settings, progress)
        require_several(settings, splits.classes)
        return splits

    def sample(self, images: ImageDataset, count: int) -> Tensor:
        """Every class has its share."""
        targets = images.targets.cpu().numpy()
        return torch.from_numpy(data.stratified(targets, min(count, len(targets)), np.random.default_rng(0)))

    def image_classes(self, images: ImageDataset) -> Tensor:
        """The targets."""
        return images.targets

    def criterion(self, output: ModelOutput, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:
        """Cross-entropy, "ce"."""
        return {"ce": F.cross_entropy(output.logits.float(), batch.target, label_smoothing=label_smoothing)}

    def accuracy(self, output: ModelOutput, batch: Batch) -> Tensor:
        """Top-1 accuracy."""
        return (output.logits.argmax(1) == batch.target).float().mean()

    def observe(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Logits and targets."""
        return {"logits": output.logits.float(), "target": batch.target}

    def validate(self, observed: Mapping[str, Any]) -> dict[str, float]:
        """Accuracy and negative log-likelihood."""
        logits, target = observed["logits"], observed["target"]
        return {"accuracy": metrics.accuracy(logits, target), "nll": metrics.nll(logits, target)}

    def evaluation_steps(
        self, network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate, folder: Path
    ) -> list[EvaluationStep]:
        """Images as they are; noisy, attacked, of other things and corrupted, where the network sees images."""
        steps = [clean_step(network, material, view, settings)]
        if not data.is_stored(view):
            scoring = _Accuracy(network, folder)
            steps += [noise_step(scoring, material, settings, sigma) for sigma in settings.noise]
            steps += [attack_step(network, material, settings, folder, level) for level in settings.attacks]
            if settings.ood is not None and material.ood is not None:
                steps.append(ood_step(network, material.ood, named(settings.ood), folder))
            steps += corruption_steps(_Accuracy(network, folder, np.int32), material, settings, folder)
        return steps

    def compare(self, networks: Networks, folder: Path, look: Look, progress: Progress) -> dict[str, Any]:
        """Images worth a look, maps of embeddings, similarity to the teachers, relative corruption errors."""
        return compare(networks, folder, look, progress)

    @property
    def export(self) -> ExportTask:
        """Files are compared by their classes."""
        return CLASSIFY


class _Accuracy(Scoring):
    """Accuracy, and the class that is named for each image."""

    name = "accuracy"

    def __init__(self, network: nn.Module, folder: Path, dtype: type[np.integer[Any]] = np.int64) -> None:
        self._network, self._folder, self._dtype = network, folder, dtype

    def score(self, loader: Batches, progress: Progress) -> Score:
        found = predict(self._network, loader, "image", progress)
        answers = found.logits.argmax(1).numpy().astype(self._dtype)
        return Score(metrics.accuracy(found.logits, found.target), answers, found.index)

    def figure(self, answers: NDArray[Any], rows: NDArray[np.int64]) -> float:
        with np.load(self._folder / PREDICTIONS) as clean:
            return float((answers == clean["target"][rows]).mean())

    def clean(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        with np.load(self._folder / PREDICTIONS) as clean:
            return clean["logits"].argmax(1), clean["index"]
