"""One network on one split: the metrics of a recipe, and the predictions that they were computed from."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from persistill.config import Evaluate
from persistill.evaluation.loaders import EvaluationLoaders
from persistill.evaluation.own_evaluators import own_steps
from persistill.evaluation.resumable import EvaluationStep, measure_steps
from persistill.ranks import holds_parts, whole_weights
from persistill.utils.progress import Progress, Silent


class EvaluatedTask(Protocol):
    """What an evaluation must know of a task; every ``tasks.Task`` is one."""

    def evaluation_steps(
        self, network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate, folder: Path
    ) -> list[EvaluationStep]:
        """What is measured, in order; one of the steps leaves the number of test images in the metrics, "images"."""

    def summary(self, metrics: Mapping[str, Any]) -> str:
        """The one figure in words, for a terminal."""


def evaluate(
    network: nn.Module,
    material: EvaluationLoaders,
    view: str,
    settings: Evaluate,
    folder: Path,
    progress: Progress | None = None,
    *,
    task: EvaluatedTask,
    label: str = "evaluation",
) -> dict[str, Any]:
    """Measure a network, step by step; interrupted and called again, it goes on with the step that was not finished.

    ``docs/evaluation.md`` defines every figure and lists the files that are left in the folder. Each is written whole
    or not at all. What another network or other settings left there is measured again.

    Images are made noisy, attacked, corrupted and compared with others. A network that sees another view (a teacher
    of persistence images) is measured without that: ``noise``, ``attacks`` and ``corruptions`` are empty, ``ood`` is
    None.

    Args:
        network: returns ``ModelOutput``; it is left as it was.
        material: what it is measured on, and by which ranks, each of which has called this with the same network.
        view: what the network sees.
        settings: what is measured.
        folder: exists, and receives the files.
        progress: one stage is started and finished on it.
        task: says what there is to measure.
        label: the stage's name there.

    Returns:
        ``{"metrics": {...}, "images": N, "seconds": s}``, the metrics as ``docs/evaluation.md`` lists them:
        accuracies, calibration errors and areas are fractions, nll is in nats. None stands for what is not finite.
        Nothing for ranks but the first, which alone writes.

    Raises:
        UserError: if there are no images, or if the network's logits are not finite.
    """
    ranks = material.ranks
    steps = task.evaluation_steps(network, material, view, settings, folder)
    steps += own_steps(network, material, view, settings)
    made_of = {"network": _weights(network), "view": view, "settings": settings.to_json()}
    together = holds_parts(network)
    found, seconds = measure_steps(
        steps, folder, made_of, progress or Silent(), label, task.summary, ranks, together=together
    )
    if not ranks.leads:
        return {}
    images = found.pop("images")
    # What a network was not asked is there too, and empty.
    metrics = {"noise": {}, "attacks": {}, "ood": None, "corruptions": {}, **found}
    return {"metrics": metrics, "images": images, "seconds": seconds}


def _weights(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in whole_weights(network):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # As bytes, because NumPy does not know bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
