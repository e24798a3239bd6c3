"""Trained networks, measured: what is asked of them, and what their answers are compared with."""

from persistill.evaluation.efficiency import measure_cost
from persistill.evaluation.embedding_maps import EMBEDDING_MAPS, store_embedding_maps
from persistill.evaluation.evaluator import evaluate
from persistill.evaluation.example_selection import Look, hardest, keep_images, only_second
from persistill.evaluation.loaders import EvaluationLoaders, Sample
from persistill.evaluation.ood_images import ood_images
from persistill.evaluation.predict import Predictions, predict
from persistill.evaluation.teacher_similarity import measure_similarity

__all__ = [
    "EMBEDDING_MAPS",
    "EvaluationLoaders",
    "Look",
    "Predictions",
    "Sample",
    "evaluate",
    "hardest",
    "keep_images",
    "measure_cost",
    "measure_similarity",
    "only_second",
    "ood_images",
    "predict",
    "store_embedding_maps",
]
