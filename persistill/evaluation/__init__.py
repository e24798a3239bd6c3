"""Metrics of frozen networks: what a network answers, and how good its answers are."""

from persistill.evaluation.evaluate import evaluate
from persistill.evaluation.metrics import accuracy, ece, nll
from persistill.evaluation.noise import Transform, gaussian_noise
from persistill.evaluation.predictions import Predictions, predict

__all__ = [
    "Predictions",
    "Transform",
    "accuracy",
    "ece",
    "evaluate",
    "gaussian_noise",
    "nll",
    "predict",
]
