"""One network on one split: the metrics of a recipe, and the predictions that they were computed from."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from persistill.evaluation.metrics import accuracy, ece, nll
from persistill.evaluation.noise import Transform, gaussian_noise
from persistill.evaluation.predictions import predict
from persistill.progress import Progress, Silent
from persistill.recipe import Evaluate
from persistill.runs import atomic
from persistill.types import Batches


def evaluate(
    network: nn.Module,
    make_loader: Callable[[Transform | None], Batches],
    view: str,
    settings: Evaluate,
    folder: Path,
    progress: Progress | None = None,
    *,
    label: str = "evaluation",
) -> dict[str, Any]:
    """Measure a network, and write ``predictions.npz`` into a folder.

    The file holds ``target`` (N,) int64, ``index`` (N,) int64 and ``logits`` (N, K) float32 of the pictures
    as they are, and for each strength of the noise, say 0.04, ``noise_0.04`` (N,) int64: the class that the
    network names then. It is written whole or not at all.

    Noise is added to pictures. A network that sees another view (a teacher of persistence images) is measured
    without it, and its ``noise`` is empty.

    Args:
        network: returns ``Features``; it is left as it was.
        make_loader: makes the loader of the split, in a fixed order; given a transform, one whose pictures go
            through it before they are normalised.
        view: what the network sees.
        settings: strengths and seed of the noise, bins of the calibration error.
        folder: exists, and receives the file.
        progress: one stage is started and finished on it.
        label: the stage's name there.

    Returns:
        ``{"metrics": {"accuracy", "nll", "ece", "noise": {"0.04": accuracy}}, "pictures": N, "seconds": s}``;
        accuracies and ece are fractions, nll is in nats.

    Raises:
        UserError: if there are no pictures, or if the network's logits are not finite.
    """
    progress = progress or Silent()
    began = time.perf_counter()
    sigmas = settings.noise if view == "image" else ()
    loader = make_loader(None)
    progress.start(label, len(loader) * (1 + len(sigmas)))
    clean = predict(network, loader, view, progress)
    logits, target = clean.logits, clean.target
    metrics: dict[str, Any] = {
        "accuracy": accuracy(logits, target),
        "nll": nll(logits, target),
        "ece": ece(logits, target, settings.ece_bins),
        "noise": {},
    }
    arrays = {"target": target.numpy(), "index": clean.index.numpy(), "logits": logits.numpy()}
    for sigma in sigmas:
        noisy = predict(network, make_loader(gaussian_noise(sigma, settings.noise_seed)), view, progress)
        if not torch.equal(noisy.index, clean.index):
            raise ValueError("make_loader gave the pictures in two orders; it must not shuffle them.")
        metrics["noise"][str(sigma)] = accuracy(noisy.logits, noisy.target)
        arrays[f"noise_{sigma}"] = noisy.logits.argmax(1).numpy()
    with atomic(folder / "predictions.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    progress.finish(f"accuracy {metrics['accuracy']:.2%}")
    return {"metrics": metrics, "pictures": len(target), "seconds": time.perf_counter() - began}
