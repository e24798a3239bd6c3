"""The first step of an evaluation: images as they are, and how the network lays them out."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from persistill.config import Evaluate
from persistill.evaluation import EvaluationLoaders, EvaluationStep, StepResult, collect, evaluating
from persistill.losses import gram
from persistill.metrics.classification import accuracy, class_scores, top_k
from persistill.metrics.selective import risk_coverage
from persistill.metrics.similarity import v_measure
from persistill.ranks import Ranks
from persistill.structures import Batch, ModelOutput
from persistill.tasks.confidence import calibrated, confidence
from persistill.utils.progress import Progress

PREDICTIONS = "predictions.npz"
FEATURES = "features.npz"
COVERAGES = tuple(number / 20 for number in range(1, 21))
BEST = 5
"""Answers among which the right one is looked for."""
SIMILAR = 100
"""Images of the similarity maps, as many of each class."""


def clean_step(network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate) -> EvaluationStep:
    """Images as they are: all that ``docs/evaluation.md`` lists above the noise, and both npz files."""
    test, validation, ranks = material.test(None), material.validation, material.ranks

    def measure(progress: Progress) -> StepResult:
        held_out = collect(network, validation, view, _answers, progress, ranks)
        found = collect(network, test, view, _Features(view), progress, ranks)
        similar = _similarity(network, found, ranks)
        if not ranks.leads:
            return StepResult({})
        logits, target = found["logits"], found["target"]
        rows = sample(len(target), settings.embeddings)
        embedding = found["embedding"][rows]
        metrics = {
            "images": len(target),
            "accuracy": accuracy(logits, target),
            **_best_answers(logits, target),
            **_by_class(logits, target),
            **confidence(logits, target, settings.ece_bins),
            "calibrated": {
                "images": len(held_out["target"]),
                **calibrated(logits, target, held_out["logits"], held_out["target"], settings.ece_bins),
            },
            **_selective(logits, target),
            "v_measure": v_measure(embedding, target[rows], logits.shape[1]),
        }
        predictions = {
            "target": target,
            "index": found["index"],
            "logits": logits,
            **{f"validation_{name}": held_out[name] for name in ("target", "index", "logits")},
        }
        features = {"embedding_rows": rows, "embedding": _narrow(embedding), **similar}
        return StepResult(metrics, {PREDICTIONS: _arrays(predictions), FEATURES: _arrays(features)})

    return EvaluationStep("clean", len(validation) + len(test), measure, "all")


def sample(size: int, most: int) -> Tensor:
    """Rows (n,) int64 out of ``range(size)``, ascending: all, or ``most`` of them drawn from a fixed seed."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))[:most].sort().values


def _answers(output: ModelOutput, batch: Batch) -> dict[str, Any]:
    return {"logits": output.logits.float(), "target": batch.target, "index": batch.index}


class _Features:
    """Keeps embeddings too, and the first images of each class that it is shown: those of all test images are among
    them, whichever batches another rank is shown.
    """

    def __init__(self, view: str) -> None:
        self._view = view
        self._wanted: Counter[int] | None = None

    def __call__(self, output: ModelOutput, batch: Batch) -> dict[str, Any]:
        if self._wanted is None:
            self._wanted = _wanted(output.logits.shape[1])
        first: list[Tensor | None] = []
        for image, number in zip(batch.inputs[self._view], batch.target.tolist(), strict=True):
            first.append(image.cpu() if self._wanted[number] else None)
            self._wanted[number] -= bool(self._wanted[number])
        return {**_answers(output, batch), "embedding": output.embedding.float(), "first": first}


def _wanted(classes: int) -> Counter[int]:
    """Class number -> how many of its images are in the similarity maps."""
    return Counter(dict.fromkeys(range(min(classes, SIMILAR)), max(1, SIMILAR // classes)))


def _similarity(network: nn.Module, found: Mapping[str, Any], ranks: Ranks) -> dict[str, Tensor]:
    """Rows ("similarity_rows", (B,), sorted by class), and for each stage "gram_<stage>", (B, B)."""
    rows, images = [], None
    if ranks.leads:
        for number, count in _wanted(found["logits"].shape[1]).items():
            rows += (found["target"] == number).nonzero().flatten()[:count].tolist()
        images = torch.stack([found["first"][row] for row in rows])
    images = ranks.from_leader(images)  # all ranks ask, for each may hold a part of the network
    assert images is not None
    device = next(network.parameters(), images).device
    with evaluating(network), torch.inference_mode():
        maps: dict[str, Tensor] = network(images.to(device)).feature_maps
        grams = {f"gram_{stage}": gram(stage_map).cpu() for stage, stage_map in maps.items()}
    return {"similarity_rows": torch.tensor(rows), **grams}


def _best_answers(logits: Tensor, target: Tensor) -> dict[str, Any]:
    """Accuracy of the best five answers; with no more classes than that, all are right."""
    if logits.shape[1] <= BEST:
        return {}
    return {"top_k": {"k": BEST, "accuracy": top_k(logits, target, BEST)}}


def _by_class(logits: Tensor, target: Tensor) -> dict[str, Any]:
    scores = class_scores(logits, target)
    return {
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
        "classes": {name: list(values) for name, values in scores._asdict().items()},
    }


def _selective(logits: Tensor, target: Tensor) -> dict[str, Any]:
    risk = risk_coverage(logits, target)
    answered = [-(-number * len(risk) // len(COVERAGES)) for number in range(1, len(COVERAGES) + 1)]
    return {
        "aurc": float(risk.mean()),
        "selective": {
            "coverage": [count / len(risk) for count in answered],
            "accuracy": [1 - float(risk[count - 1]) for count in answered],
        },
    }


def _narrow(embedding: Tensor) -> Tensor:
    """In float16, unless it is too large for that."""
    narrow = embedding.half()
    return narrow if narrow.isfinite().all() else embedding


def _arrays(tensors: dict[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
