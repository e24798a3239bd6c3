"""Steps of an evaluation: images under each corruption at each severity, and what the errors add up to."""

from pathlib import Path

import numpy as np
from torch import Tensor

from persistill.config import Evaluate
from persistill.evaluation.loaders import EvaluationLoaders, Sample
from persistill.evaluation.resumable import EvaluationStep, StepResult
from persistill.evaluation.scoring import Scoring
from persistill.perturbations.corruptions import (
    SEVERITIES,
    NamedCorruption,
    corrupt,
    corruption_error,
    find_corruptions,
)
from persistill.utils.progress import Progress


def corruption_steps(
    scoring: Scoring, material: EvaluationLoaders, settings: Evaluate, folder: Path
) -> list[EvaluationStep]:
    """The task's figure under each corruption at each severity, then the mean error; empty where none is asked for.

    Raises:
        UserError: if the settings name a corruption that does not exist.
    """
    found = find_corruptions(settings.corruptions)
    sample = material.corruptible
    if not found or sample is None:
        return []
    names = tuple(corruption.name for corruption in found)
    steps = [_step(scoring, sample, settings, one, severity) for one in found for severity in SEVERITIES]
    return [*steps, EvaluationStep("corruptions", 0, lambda _: _summary(scoring, names, folder))]


def _step(
    scoring: Scoring, sample: Sample, settings: Evaluate, corruption: NamedCorruption, severity: int
) -> EvaluationStep:
    name = corruption.name

    def corrupted(images: Tensor, number: int) -> Tensor:
        start = number * settings.batch_size
        rows = sample.rows[start : start + len(images)]
        return corrupt(images, corruption, severity, settings.noise_seed, rows)

    loader = sample.loader(corrupted)

    def measure(progress: Progress) -> StepResult:
        found = scoring.score(loader, progress)
        answers = {"rows": sample.rows.numpy(), str(severity): found.answers}
        metrics = {scoring.name: {name: {str(severity): found.figure}}}
        return StepResult({"corruptions": metrics}, additions={_file(name): answers})

    return EvaluationStep(f"corruption-{name}-{severity}", len(loader), measure, "any")


def _summary(scoring: Scoring, names: tuple[str, ...], folder: Path) -> StepResult:
    found: dict[str, dict[str, float]] = {}
    for name in names:
        with np.load(folder / _file(name)) as file:
            rows = file["rows"]
            found[name] = {str(severity): scoring.figure(file[str(severity)], rows) for severity in SEVERITIES}
    clean = scoring.figure(scoring.clean()[0][rows], rows)
    return StepResult({"corruptions": {"images": len(rows), "clean": clean, "error": corruption_error(found)}})


def _file(name: str) -> str:
    return f"corruption-{name}.npz"
