"""One network on one split: the metrics of a recipe, and the predictions that they were computed from."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from persistill.config import Evaluate
from persistill.evaluation.clean import clean_part
from persistill.evaluation.corruptions import corruption_parts
from persistill.evaluation.loaders import EvaluationLoaders
from persistill.evaluation.resumable import measure_parts
from persistill.evaluation.robustness import attack_part, noise_part, ood_part
from persistill.utils.progress import Progress, Silent
from persistill.utils.registry import named


def evaluate(
    network: nn.Module,
    material: EvaluationLoaders,
    view: str,
    settings: Evaluate,
    folder: Path,
    progress: Progress | None = None,
    *,
    label: str = "evaluation",
) -> dict[str, Any]:
    """Measure a network, part by part; interrupted and called again, it goes on with the part that was not finished.

    ``docs/evaluation.md`` defines every figure and lists the files that are left in the folder. Each is written whole
    or not at all. What another network or other settings left there is measured again.

    Images are made noisy, attacked, corrupted and compared with others. A network that sees another view (a teacher
    of persistence images) is measured without that: ``noise``, ``attacks`` and ``corruptions`` are empty, ``ood`` is
    None.

    Args:
        network: returns ``ModelOutput``; it is left as it was.
        material: what it is measured on.
        view: what the network sees.
        settings: what is measured.
        folder: exists, and receives the files.
        progress: one stage is started and finished on it.
        label: the stage's name there.

    Returns:
        ``{"metrics": {...}, "images": N, "seconds": s}``, the metrics as ``docs/evaluation.md`` lists them:
        accuracies, calibration errors and areas are fractions, nll is in nats. None stands for what is not finite.

    Raises:
        UserError: if there are no images, or if the network's logits are not finite.
    """
    parts = [clean_part(network, material, view, settings)]
    if view == "image":
        parts += [noise_part(network, material, settings, folder, sigma) for sigma in settings.noise]
        parts += [attack_part(network, material, settings, folder, level) for level in settings.attacks]
        if settings.ood is not None and material.ood is not None:
            parts.append(ood_part(network, material.ood, named(settings.ood), folder))
        parts += corruption_parts(network, material, settings, folder)
    made_of = {"network": _weights(network), "view": view, "settings": settings.to_json()}
    found, seconds = measure_parts(parts, folder, made_of, progress or Silent(), label)
    images = found.pop("images")
    # What a network was not asked is there too, and empty.
    metrics = {"noise": {}, "attacks": {}, "ood": None, "corruptions": {}, **found}
    return {"metrics": metrics, "images": images, "seconds": seconds}


def _weights(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # As bytes, because NumPy does not know bfloat16.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
