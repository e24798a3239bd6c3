"""Metrics of predictions: pure functions of tensors."""

from persistill.metrics.calibration import classwise_ece, ece, ece_equal_mass, fit_temperature
from persistill.metrics.classification import accuracy, brier, nll, top_k
from persistill.metrics.embedding_projection import embedding_map
from persistill.metrics.ood import auroc, max_softmax, negative_energy
from persistill.metrics.segmentation import class_iou, confusion_counts, mean_iou, pixel_accuracy
from persistill.metrics.selective import aurc, risk_coverage
from persistill.metrics.similarity import agreement, cka, diagram_distance, mean_kl, v_measure

__all__ = [
    "accuracy",
    "agreement",
    "aurc",
    "auroc",
    "brier",
    "cka",
    "class_iou",
    "classwise_ece",
    "confusion_counts",
    "diagram_distance",
    "ece",
    "ece_equal_mass",
    "embedding_map",
    "fit_temperature",
    "max_softmax",
    "mean_iou",
    "mean_kl",
    "negative_energy",
    "nll",
    "pixel_accuracy",
    "risk_coverage",
    "top_k",
    "v_measure",
]
