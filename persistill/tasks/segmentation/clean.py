"""The first step of the evaluation of a segmentation: images as they are."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from persistill import metrics
from persistill.config import Evaluate
from persistill.evaluation import EvaluationLoaders, EvaluationStep, StepResult, collect
from persistill.structures import IGNORE_INDEX, Batch, ModelOutput
from persistill.tasks.confidence import calibrated, confidence
from persistill.tasks.segmentation.counts import figures, image_counts
from persistill.utils.progress import Progress

PER_IMAGE = "per_image.npz"
MASKS = "masks.npz"
PREDICTIONS = "predictions.npz"
EXAMPLES = 24
"""Test images whose predicted masks are kept, up to twice as many."""
PIXELS = 256
"""Pixels of each image on which confidence is measured: neighbors tell nearly the same."""


def clean_step(network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate) -> EvaluationStep:
    """Images as they are: all figures of ``docs/segmentation.md`` above the noise, and all three files."""
    test, validation = material.test(None), material.validation

    def measure(progress: Progress) -> StepResult:
        held_out, seen = _Observer(), _Observer()
        validated = collect(network, validation, view, held_out, progress)
        found = collect(network, test, view, seen, progress)
        logits, target = seen.pixels
        held_out_logits, held_out_target = held_out.pixels
        values = {
            "images": len(found["index"]),
            **figures(found),
            # Confidence, and likelihood with it, is measured on some of the pixels, before and after calibration.
            **confidence(logits, target, settings.ece_bins),
            "calibrated": {
                "pixels": len(held_out_target),
                **calibrated(logits, target, held_out_logits, held_out_target, settings.ece_bins),
            },
            "iou": metrics.class_iou(seen.confusion).tolist(),
        }
        per_image = {name: found[name].numpy() for name in ("miou", "pixel_accuracy", "index")}
        per_image["validation_miou"] = validated["miou"].numpy()
        predictions = {
            "target": target,
            "logits": logits,
            "validation_target": held_out_target,
            "validation_logits": held_out_logits,
        }
        return StepResult(
            values,
            {
                PREDICTIONS: {name: tensor.numpy() for name, tensor in predictions.items()},
                PER_IMAGE: {**per_image, "confusion": seen.confusion.numpy()},
                MASKS: seen.masks,
            },
        )

    return EvaluationStep("clean", len(validation) + len(test), measure)


class _Observer:
    """Counts all pixels of each image, keeps logits of some of them, and the masks of some images."""

    def __init__(self) -> None:
        self._passed, self._stride = 0, 1
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._masks: dict[int, NDArray[np.uint8]] = {}
        self.confusion = torch.zeros(0)

    def __call__(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        found, counts = image_counts(output.logits, batch.target)
        total = counts.sum(0).cpu()
        self.confusion = self.confusion + total if self._passed else total
        for logits, target in zip(output.logits, batch.target, strict=True):
            self._pick(logits, target)
            self._keep(logits)
            self._passed += 1
        return {**found, "index": batch.index}

    def _pick(self, logits: Tensor, target: Tensor) -> None:
        """Logits of pixels that have a class, drawn by the image's position alone."""
        places = (target.flatten() != IGNORE_INDEX).nonzero().squeeze(1)
        generator = torch.Generator().manual_seed(self._passed)
        some = torch.randperm(len(places), generator=generator)[:PIXELS].sort().values.to(places.device)
        self._logits.append(logits.flatten(1)[:, places[some]].T.float().cpu())
        self._targets.append(target.flatten()[places[some]].cpu())

    def _keep(self, logits: Tensor) -> None:
        """Masks of evenly spaced images, however many there will be: every second one goes when there are too many."""
        if self._passed % self._stride == 0:
            self._masks[self._passed] = logits.argmax(0).to(torch.uint8).cpu().numpy()
        if len(self._masks) > 2 * EXAMPLES:
            self._stride *= 2
            self._masks = {row: mask for row, mask in self._masks.items() if row % self._stride == 0}

    @property
    def pixels(self) -> tuple[Tensor, Tensor]:
        """Logits (M, K) and targets (M,) of the pixels that were picked."""
        return torch.cat(self._logits), torch.cat(self._targets)

    @property
    def masks(self) -> dict[str, NDArray[np.generic]]:
        """Rows (n,) of the images whose masks were kept, and the masks, (n, H, W) class numbers."""
        return {"rows": np.array(list(self._masks)), "answer": np.stack(list(self._masks.values()))}
