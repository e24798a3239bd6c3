"""Steps of an evaluation: images with Gaussian noise."""

import numpy as np

from persistill.config import Evaluate
from persistill.evaluation.loaders import EvaluationLoaders
from persistill.evaluation.resumable import EvaluationStep, StepResult
from persistill.evaluation.scoring import Scoring
from persistill.perturbations.gaussian_noise import gaussian_noise
from persistill.utils.progress import Progress


def noise_step(scoring: Scoring, material: EvaluationLoaders, settings: Evaluate, sigma: float) -> EvaluationStep:
    """The task's figure at one strength of Gaussian noise, and the answers to the noisy images."""
    loader = material.test(gaussian_noise(sigma, settings.noise_seed))

    def measure(progress: Progress) -> StepResult:
        noisy = scoring.score(loader, progress)
        if not np.array_equal(noisy.index.numpy(), scoring.clean()[1]):
            raise ValueError("the test loader gave the images in two orders; it must not shuffle them.")
        return StepResult({"noise": {str(sigma): noisy.figure}}, {f"noise-{sigma}.npz": {"answer": noisy.answers}})

    return EvaluationStep(f"noise-{sigma}", len(loader), measure, "any")
