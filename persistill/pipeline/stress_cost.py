"""What it will cost to ask a network about images that are noisy, attacked, of other things, or corrupted."""

import time
from collections.abc import Mapping

import torch

from persistill.config import Evaluate
from persistill.data import ImageDataset
from persistill.perturbations import SEVERITIES, corrupt, fgsm, find_corruptions
from persistill.perturbations.adversarial import PGD_STEPS, LogitsFunction

CORRUPTIONS, ATTACKS = "evaluate.corruptions=()", "evaluate.attacks=()"
"""Settings that leave a part out, as they are typed."""

_PIXELS = 2**16
"""Of the images that are corrupted or attacked to see how long that takes; at least 4 and at most 64 images."""
_STEP = 0.01
"""Seconds of a step beside its images: its batches are set up and its figures are written."""


def stress_seconds(
    settings: Evaluate, test: int, *, answer: float, gradient: float, corruption: float
) -> Mapping[str, float]:
    """Seconds of each part of an evaluation but the first, in which a network answers for images as they are.

    Args:
        settings: what is measured.
        test: test images.
        answer: seconds in which the network answers for an image.
        gradient: seconds in which its gradient at an image is taken.
        corruption: seconds in which an image is corrupted once.

    Returns:
        The setting that leaves a part out -> its seconds; under "" what no such setting leaves out.
    """
    attacked, corrupted = min(settings.attacked, test), min(settings.corrupted, test)
    steps = len(SEVERITIES) * len(find_corruptions(settings.corruptions))
    plain = test * len(settings.noise) + (settings.ood_images if settings.ood else 0)
    # Clean, FGSM and PGD are answered, and the gradient is taken once for FGSM and at each step of PGD.
    attack = attacked * (3 * answer + (1 + PGD_STEPS) * gradient) + _STEP
    return {
        "": plain * answer + _STEP * len(settings.noise),
        ATTACKS: attack * len(settings.attacks),
        CORRUPTIONS: steps * (corrupted * (answer + corruption) + _STEP),
    }


def corruption_seconds(settings: Evaluate, test: ImageDataset) -> float:
    """Seconds in which an image is corrupted once, the mean over the corruptions at the middle severity."""
    found = find_corruptions(settings.corruptions)
    if not found:
        return 0.0
    rows = _few(test)
    images = test.fetch(rows).float() / 255
    # What is compiled or read for the first time is not counted.
    for _ in range(2):
        began = time.perf_counter()
        for corruption in found:
            corrupt(images, corruption, SEVERITIES[len(SEVERITIES) // 2], settings.noise_seed, rows)
        seconds = time.perf_counter() - began
    return seconds / len(found) / len(rows)


def gradient_seconds(model: LogitsFunction, test: ImageDataset) -> float:
    """Seconds in which a network's gradient at an image is taken.

    Args:
        model: the network, on the device of the images and in evaluation mode.
        test: images, of which some are taken.
    """
    rows = _few(test)
    images, target = test.fetch(rows).float() / 255, test.fetch_targets(rows)
    for _ in range(2):  # as above
        began = time.perf_counter()
        changed = fgsm(model, images, target, 0.0)
        if changed.is_cuda:
            torch.cuda.synchronize(changed.device)
        seconds = time.perf_counter() - began
    return seconds / len(rows)


def _few(test: ImageDataset) -> torch.Tensor:
    affordable = _PIXELS // (test.shape[1] * test.shape[2])
    return torch.arange(min(max(4, min(64, affordable)), len(test)))
