"""The first step of the evaluation of a segmentation: images as they are."""

from typing import Any

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
    test, validation, ranks = material.test(None), material.validation, material.ranks

    def measure(progress: Progress) -> StepResult:
        validated = collect(network, validation, view, _observe, progress, ranks)
        found = collect(network, test, view, _observe, progress, ranks)
        if not ranks.leads:
            return StepResult({})
        logits, target = torch.cat(found["pixel_logits"]), torch.cat(found["pixel_targets"])
        held_out_logits = torch.cat(validated["pixel_logits"])
        held_out_target = torch.cat(validated["pixel_targets"])
        confusion = torch.stack(found["confusion"]).sum(0)
        values = {
            "images": len(found["index"]),
            **figures(found),
            # Confidence, and likelihood with it, is measured on some of the pixels, before and after calibration.
            **confidence(logits, target, settings.ece_bins),
            "calibrated": {
                "pixels": len(held_out_target),
                **calibrated(logits, target, held_out_logits, held_out_target, settings.ece_bins),
            },
            "iou": metrics.class_iou(confusion).tolist(),
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
                PER_IMAGE: {**per_image, "confusion": confusion.numpy()},
                MASKS: _kept(found["masks"]),
            },
        )

    return EvaluationStep("clean", len(validation) + len(test), measure, "all")


def _observe(output: ModelOutput, batch: Batch) -> dict[str, Any]:
    """Counts of each image, logits of some of its pixels, the masks of some images; confusion counts of the batch."""
    found, counts = image_counts(output.logits, batch.target)
    rows = batch.index.tolist()
    pixels = [_pick(*image) for image in zip(output.logits, batch.target, rows, strict=True)]
    return {
        **found,
        "index": batch.index,
        "pixel_logits": [logits for logits, _ in pixels],
        "pixel_targets": [target for _, target in pixels],
        "masks": [
            logits.argmax(0).to(torch.uint8).cpu().numpy() if row % _stride(row + 1) == 0 else None
            for logits, row in zip(output.logits, rows, strict=True)
        ],
        "confusion": [counts.sum(0).cpu()],
    }


def _pick(logits: Tensor, target: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Logits (M, K) and targets (M,) of pixels that have a class, drawn by the image's position alone."""
    places = (target.flatten() != IGNORE_INDEX).nonzero().squeeze(1)
    generator = torch.Generator().manual_seed(row)
    some = torch.randperm(len(places), generator=generator)[:PIXELS].sort().values.to(places.device)
    return logits.flatten(1)[:, places[some]].T.float().cpu(), target.flatten()[places[some]].cpu()


def _stride(images: int) -> int:
    """How far apart the images lie whose masks are kept, a power of two."""
    stride = 1
    while -(-images // stride) > 2 * EXAMPLES:
        stride *= 2
    return stride


def _kept(masks: list[NDArray[np.uint8] | None]) -> dict[str, NDArray[np.generic]]:
    """Rows (n,) of the images whose masks are kept of so many, and the masks, (n, H, W) class numbers."""
    rows = range(0, len(masks), _stride(len(masks)))
    return {"rows": np.array(rows), "answer": np.stack([mask for row in rows if (mask := masks[row]) is not None])}
