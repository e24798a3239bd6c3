"""Further steps of an evaluation: images that are attacked, or of other things."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from persistill.config import Evaluate
from persistill.evaluation import EvaluationLoaders, EvaluationStep, StepResult, evaluating, predict
from persistill.metrics.ood import ood_metrics
from persistill.perturbations.adversarial import PGD_STEPS, fgsm, pgd
from persistill.structures import Batches
from persistill.tasks.classification.clean import PREDICTIONS, sample
from persistill.utils.progress import Progress


def attack_step(
    network: nn.Module, material: EvaluationLoaders, settings: Evaluate, folder: Path, level: float
) -> EvaluationStep:
    """Accuracy on some of the test images under FGSM and PGD of one strength, given in 255ths."""
    loader, epsilon = material.test(None), level / 255

    def answer(plain: Tensor) -> Tensor:
        logits: Tensor = network(material.normalized(plain)).logits
        return logits.float()

    def measure(progress: Progress) -> StepResult:
        with np.load(folder / PREDICTIONS) as clean:
            images = len(clean["target"])
        chosen = torch.zeros(images, dtype=torch.bool)
        chosen[sample(images, settings.attacked)] = True
        count = int(chosen.sum())
        right = {"clean": 0, "fgsm": 0, "pgd": 0}
        passed = 0
        with evaluating(network):
            for number, batch in enumerate(loader.epoch(0)):
                keep = chosen[passed : passed + len(batch.target)].to(batch.target.device)
                passed += len(batch.target)
                if keep.any():
                    plain, target = material.plain(batch.inputs["image"][keep]), batch.target[keep]
                    start = _seed(settings.noise_seed, level, number)
                    attacked = {
                        "clean": plain,
                        "fgsm": fgsm(answer, plain, target, epsilon),
                        "pgd": pgd(answer, plain, target, epsilon, seed=start),
                    }
                    with torch.inference_mode():
                        for name, changed in attacked.items():
                            right[name] += int((answer(changed).argmax(1) == target).sum())
                progress.advance(1)
        found = {name: {f"{level:g}": right[name] / count} for name in ("fgsm", "pgd")}
        return StepResult(
            {"attacks": {"images": count, "steps": PGD_STEPS, "accuracy": right["clean"] / count, **found}}
        )

    return EvaluationStep(f"attack-{level:g}", len(loader), measure, "any")


def ood_step(network: nn.Module, loader: Batches, source: str, folder: Path) -> EvaluationStep:
    """How well the network's confidence tells test images from those of another source."""

    def measure(progress: Progress) -> StepResult:
        other = predict(network, loader, "image", progress)
        with np.load(folder / PREDICTIONS) as clean:
            inside = torch.from_numpy(clean["logits"])
        metrics = {"source": source, "images": len(other.logits), **ood_metrics(inside, other.logits)}
        return StepResult({"ood": metrics}, {"ood.npz": {"logits": other.logits.numpy()}})

    return EvaluationStep("ood", len(loader), measure, "any")


def _seed(seed: int, level: float, batch: int) -> int:
    text = f"pgd {seed} {float(level)!r} {batch}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
