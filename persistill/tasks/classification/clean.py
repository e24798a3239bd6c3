"""The first step of an evaluation: images as they are, and how the network lays them out."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from persistill.config import Evaluate
from persistill.evaluation import EvaluationLoaders, EvaluationStep, StepResult, evaluating, predict
from persistill.losses import gram
from persistill.metrics.classification import accuracy, class_scores, top_k
from persistill.metrics.selective import risk_coverage
from persistill.metrics.similarity import v_measure
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
    test, validation = material.test(None), material.validation

    def measure(progress: Progress) -> StepResult:
        seen = _Features(view)
        held_out = predict(network, validation, view, progress)
        found = predict(network, test, view, progress, seen)
        logits, target = found.logits, found.target
        rows = sample(len(target), settings.embeddings)
        embedding = seen.embedding[rows]
        metrics = {
            "images": len(target),
            "accuracy": accuracy(logits, target),
            **_best_answers(logits, target),
            **_by_class(logits, target),
            **confidence(logits, target, settings.ece_bins),
            "calibrated": {
                "images": len(held_out.target),
                **calibrated(logits, target, held_out.logits, held_out.target, settings.ece_bins),
            },
            **_selective(logits, target),
            "v_measure": v_measure(embedding, target[rows], logits.shape[1]),
        }
        predictions = {
            "target": target,
            "index": found.index,
            "logits": logits,
            "validation_target": held_out.target,
            "validation_index": held_out.index,
            "validation_logits": held_out.logits,
        }
        features = {"embedding_rows": rows, "embedding": _narrow(embedding), **seen.similarity(network)}
        return StepResult(metrics, {PREDICTIONS: _arrays(predictions), FEATURES: _arrays(features)})

    return EvaluationStep("clean", len(validation) + len(test), measure)


def sample(size: int, most: int) -> Tensor:
    """Rows (n,) int64 out of ``range(size)``, ascending: all, or ``most`` of them drawn from a fixed seed."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(0))[:most].sort().values


class _Features:
    """Watches a network: keeps all embeddings, and the first images of each class for its similarity maps."""

    def __init__(self, view: str) -> None:
        self._view = view
        self._embeddings: list[Tensor] = []
        self._wanted: Counter[int] | None = None
        self._images: list[Tensor] = []
        self._classes: list[int] = []
        self._rows: list[int] = []
        self._passed = 0

    def __call__(self, batch: Batch, features: ModelOutput) -> None:
        self._embeddings.append(features.embedding.float().cpu())
        if self._wanted is None:
            classes = features.logits.shape[1]
            self._wanted = Counter(dict.fromkeys(range(min(classes, SIMILAR)), max(1, SIMILAR // classes)))
        if self._wanted.total():
            for place, number in enumerate(batch.target.tolist()):
                if self._wanted[number]:
                    self._wanted[number] -= 1
                    self._images.append(batch.inputs[self._view][place])
                    self._classes.append(number)
                    self._rows.append(self._passed + place)
        self._passed += len(batch.target)

    @property
    def embedding(self) -> Tensor:
        """(N, D) float32."""
        return torch.cat(self._embeddings)

    def similarity(self, network: nn.Module) -> dict[str, Tensor]:
        """Rows ("similarity_rows", (B,), sorted by class), and for each stage "gram_<stage>", (B, B)."""
        order = sorted(range(len(self._rows)), key=lambda place: (self._classes[place], self._rows[place]))
        images = torch.stack([self._images[place] for place in order])
        with evaluating(network), torch.inference_mode():
            maps: dict[str, Tensor] = network(images).feature_maps
            grams = {f"gram_{stage}": gram(stage_map).cpu() for stage, stage_map in maps.items()}
        return {"similarity_rows": torch.tensor([self._rows[place] for place in order]), **grams}


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
