"""Common corruptions of images, as in CIFAR-10-C and ImageNet-C, made where they are needed."""

from persistill.perturbations.corruptions.apply import corrupt
from persistill.perturbations.corruptions.corruption_error import (
    corruption_error,
    mean_accuracies,
    relative_corruption_error,
)
from persistill.perturbations.corruptions.registry import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    NamedCorruption,
    find_corruptions,
)

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "SEVERITIES",
    "NamedCorruption",
    "corrupt",
    "corruption_error",
    "find_corruptions",
    "mean_accuracies",
    "relative_corruption_error",
]
