"""Trained networks, measured: what is asked of them, and what their answers are compared with."""

from persistill.evaluation.efficiency import measure_cost
from persistill.evaluation.embedding_maps import EMBEDDING_MAPS, store_embedding_maps
from persistill.evaluation.evaluator import evaluate
from persistill.evaluation.example_selection import Look, hardest, keep_pictures, only_second
from persistill.evaluation.loaders import Material, Sample
from persistill.evaluation.ood_images import ood_pictures
from persistill.evaluation.predict import Predictions, predict
from persistill.evaluation.teacher_similarity import measure_likeness

__all__ = [
    "EMBEDDING_MAPS",
    "Look",
    "Material",
    "Predictions",
    "Sample",
    "evaluate",
    "hardest",
    "keep_pictures",
    "measure_cost",
    "measure_likeness",
    "only_second",
    "ood_pictures",
    "predict",
    "store_embedding_maps",
]
