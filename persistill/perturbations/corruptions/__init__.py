"""Common corruptions of images, as in CIFAR-10-C and ImageNet-C, made where they are needed."""

from persistill.perturbations.corruptions.apply import corrupt
from persistill.perturbations.corruptions.corruption_error import (
    corruption_error,
    mean_accuracies,
    relative_corruption_error,
)
from persistill.perturbations.corruptions.registry import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corruption_names

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "SEVERITIES",
    "corrupt",
    "corruption_error",
    "corruption_names",
    "mean_accuracies",
    "relative_corruption_error",
]
