"""Trained networks, measured: what is asked of them, and what their answers are compared with."""

from persistill.evaluation.corruptions import corruption_steps
from persistill.evaluation.efficiency import measure_cost
from persistill.evaluation.evaluator import EvaluatedTask, evaluate
from persistill.evaluation.loaders import EvaluationLoaders, Sample
from persistill.evaluation.noise import noise_step
from persistill.evaluation.predict import Predictions, collect, evaluating, predict
from persistill.evaluation.resumable import EvaluationStep, StepResult
from persistill.evaluation.scoring import Score, Scoring

__all__ = [
    "EvaluatedTask",
    "EvaluationLoaders",
    "EvaluationStep",
    "Predictions",
    "Sample",
    "Score",
    "Scoring",
    "StepResult",
    "collect",
    "corruption_steps",
    "evaluate",
    "evaluating",
    "measure_cost",
    "noise_step",
    "predict",
]
