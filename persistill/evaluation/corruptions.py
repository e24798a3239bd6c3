"""Parts of an evaluation: images under each corruption at each severity, and what the errors add up to."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from persistill.config import Evaluate
from persistill.evaluation.clean import PREDICTIONS
from persistill.evaluation.loaders import EvaluationLoaders, Sample
from persistill.evaluation.predict import predict
from persistill.evaluation.resumable import EvaluationStep, StepResult
from persistill.metrics.classification import accuracy
from persistill.perturbations.corruptions import (
    SEVERITIES,
    NamedCorruption,
    corrupt,
    corruption_error,
    find_corruptions,
)
from persistill.utils.progress import Progress


def corruption_parts(
    network: nn.Module, material: EvaluationLoaders, settings: Evaluate, folder: Path
) -> list[EvaluationStep]:
    """Accuracy under each corruption at each severity, then their mean error; empty where none is asked for.

    Raises:
        UserError: if the settings name a corruption that does not exist.
    """
    found = find_corruptions(settings.corruptions)
    sample = material.corruptible
    if not found or sample is None:
        return []
    names = tuple(corruption.name for corruption in found)
    parts = [_part(network, sample, settings, folder, one, severity) for one in found for severity in SEVERITIES]
    return [*parts, EvaluationStep("corruptions", 0, lambda _: _summary(names, folder))]


def _part(
    network: nn.Module, sample: Sample, settings: Evaluate, folder: Path, corruption: NamedCorruption, severity: int
) -> EvaluationStep:
    name = corruption.name

    def corrupted(images: Tensor, number: int) -> Tensor:
        start = number * settings.batch_size
        rows = sample.rows[start : start + len(images)]
        return corrupt(images, corruption, severity, settings.noise_seed, rows)

    loader = sample.loader(corrupted)

    def measure(progress: Progress) -> StepResult:
        found = predict(network, loader, "image", progress)
        answers = {
            "rows": sample.rows.numpy(),
            str(severity): found.logits.argmax(1).numpy().astype(np.int32),
        }
        metrics = {"accuracy": {name: {str(severity): accuracy(found.logits, found.target)}}}
        return StepResult({"corruptions": metrics}, {_file(name): {**_others(folder / _file(name)), **answers}})

    return EvaluationStep(f"corruption-{name}-{severity}", len(loader), measure)


def _summary(names: tuple[str, ...], folder: Path) -> StepResult:
    with np.load(folder / PREDICTIONS) as clean:
        target, answer = clean["target"], clean["logits"].argmax(1)
    found: dict[str, dict[str, float]] = {}
    for name in names:
        with np.load(folder / _file(name)) as file:
            rows = file["rows"]
            found[name] = {str(s): float((file[str(s)] == target[rows]).mean()) for s in SEVERITIES}
    clean_accuracy = float((answer[rows] == target[rows]).mean())
    return StepResult({"corruptions": {"images": len(rows), "clean": clean_accuracy, "error": corruption_error(found)}})


def _file(name: str) -> str:
    return f"corruption-{name}.npz"


def _others(path: Path) -> dict[str, NDArray[Any]]:
    """What the parts before have left in a file that several write: theirs, or what will be written over."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {name: file[name] for name in file}
