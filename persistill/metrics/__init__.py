"""Metrics of predictions: pure functions of tensors."""

from persistill.metrics.calibration import classwise_ece, ece, ece_equal_mass, fit_temperature
from persistill.metrics.classification import ClassScores, accuracy, brier, class_scores, nll, top_k
from persistill.metrics.detection.bootstrap import Interval, ap_difference, ap_draws, ap_intervals
from persistill.metrics.detection.coco_ap import class_ap, class_recall, coco_figures
from persistill.metrics.detection.d_ece import d_ece
from persistill.metrics.detection.errors import error_counts
from persistill.metrics.detection.matching import DetectionMatches, match_detections
from persistill.metrics.detection.voc_ap import voc_class_ap
from persistill.metrics.embedding_projection import embedding_map
from persistill.metrics.ood import auroc, max_softmax, negative_energy
from persistill.metrics.segmentation import class_iou, confusion_counts, mean_iou, pixel_accuracy
from persistill.metrics.selective import aurc, risk_coverage
from persistill.metrics.similarity import agreement, cka, diagram_distance, mean_kl, v_measure

__all__ = [
    "ClassScores",
    "DetectionMatches",
    "Interval",
    "accuracy",
    "agreement",
    "ap_difference",
    "ap_draws",
    "ap_intervals",
    "aurc",
    "auroc",
    "brier",
    "cka",
    "class_ap",
    "class_iou",
    "class_recall",
    "class_scores",
    "classwise_ece",
    "coco_figures",
    "confusion_counts",
    "d_ece",
    "diagram_distance",
    "ece",
    "ece_equal_mass",
    "embedding_map",
    "error_counts",
    "fit_temperature",
    "match_detections",
    "max_softmax",
    "mean_iou",
    "mean_kl",
    "negative_energy",
    "nll",
    "pixel_accuracy",
    "risk_coverage",
    "top_k",
    "v_measure",
    "voc_class_ap",
]
