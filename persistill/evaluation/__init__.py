"""Metrics of frozen networks: what a network answers, and how good its answers are."""

from persistill.evaluation.attacks import fgsm, pgd
from persistill.evaluation.calibration import classwise_ece, ece, ece_equal_mass, fit_temperature
from persistill.evaluation.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corruption_error,
    corruption_names,
    mean_accuracies,
    relative_corruption_error,
)
from persistill.evaluation.cost import measure_cost
from persistill.evaluation.embedding_map import embedding_map
from persistill.evaluation.evaluate import evaluate
from persistill.evaluation.likeness import agreement, cka, diagram_distance, mean_kl, v_measure
from persistill.evaluation.maps import EMBEDDING_MAPS, store_embedding_maps
from persistill.evaluation.material import Material, Sample
from persistill.evaluation.metrics import accuracy, brier, nll, top_k
from persistill.evaluation.noise import Transform, gaussian_noise
from persistill.evaluation.ood import auroc, max_softmax, negative_energy, ood_pictures
from persistill.evaluation.pairs import measure_likeness
from persistill.evaluation.predictions import Predictions, predict
from persistill.evaluation.selective import aurc, risk_coverage
from persistill.evaluation.telling import Look, hardest, keep_pictures, only_second

__all__ = [
    "CORRUPTIONS",
    "EMBEDDING_MAPS",
    "EXTRA_CORRUPTIONS",
    "SEVERITIES",
    "Look",
    "Material",
    "Predictions",
    "Sample",
    "Transform",
    "accuracy",
    "agreement",
    "aurc",
    "auroc",
    "brier",
    "cka",
    "classwise_ece",
    "corrupt",
    "corruption_error",
    "corruption_names",
    "diagram_distance",
    "ece",
    "ece_equal_mass",
    "embedding_map",
    "evaluate",
    "fgsm",
    "fit_temperature",
    "gaussian_noise",
    "hardest",
    "keep_pictures",
    "max_softmax",
    "mean_accuracies",
    "mean_kl",
    "measure_cost",
    "measure_likeness",
    "negative_energy",
    "nll",
    "only_second",
    "ood_pictures",
    "pgd",
    "predict",
    "relative_corruption_error",
    "risk_coverage",
    "store_embedding_maps",
    "top_k",
    "v_measure",
]
