"""The first step of the evaluation of a detector: images as they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from persistill import metrics
from persistill.config import Evaluate
from persistill.evaluation import EvaluationLoaders, EvaluationStep, StepResult, collect
from persistill.metrics import DetectionMatches
from persistill.metrics.detection.errors import KINDS
from persistill.metrics.detection.voc_ap import Method
from persistill.tasks.detection.files import DETECTIONS, DRAWS, detection_arrays
from persistill.tasks.detection.observe import Seen, joined, observe
from persistill.utils.progress import Progress


def clean_step(network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate) -> EvaluationStep:
    """Images as they are: all figures of ``docs/detection.md``, and both files."""
    test, validation, ranks = material.test(None), material.validation, material.ranks

    def measure(progress: Progress) -> StepResult:
        held_out_observed = collect(network, validation, view, observe, progress, ranks)
        observed = collect(network, test, view, observe, progress, ranks)
        if not ranks.leads:
            return StepResult({})
        held_out, seen = joined(held_out_observed), joined(observed)
        matches, held_out_matches = seen.matches, held_out.matches
        arrays = detection_arrays(seen.detections, seen.objects, seen.positions.numpy(), matches)
        others = detection_arrays(held_out.detections, held_out.objects, held_out.positions.numpy(), held_out_matches)
        draws = {**metrics.ap_draws(matches), **_held_out(metrics.ap_draws(held_out_matches))}
        files = {DETECTIONS: {**arrays, **_held_out(others)}, DRAWS: draws}
        return StepResult(_figures(seen, matches, settings.ece_bins), files)

    return EvaluationStep("clean", len(validation) + len(test), measure, "all")


def _figures(seen: Seen, matches: DetectionMatches, bins: int) -> dict[str, Any]:
    by_class = metrics.class_ap(matches)
    counted = seen.objects_that_count

    def voc(method: Method) -> float:
        return _mean(metrics.voc_class_ap(seen.detections, seen.objects, seen.num_classes, method=method))

    errors = metrics.error_counts(seen.detections, seen.objects).sum(0)
    return {
        "images": len(seen.positions),
        "objects": int(counted.sum()),
        **metrics.coco_figures(matches),
        "voc_ap50": voc("area"),
        "voc_ap50_11_point": voc("11-point"),
        "d_ece": metrics.d_ece(matches, bins=bins),
        "by_class": {
            "ap": by_class.mean(1).tolist(),
            "ap50": by_class[:, 0].tolist(),
            "objects": counted.tolist(),
        },
        "errors": dict(zip(KINDS, errors.tolist(), strict=True)),
    }


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _held_out(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {f"validation_{name}": array for name, array in arrays.items()}
