"""Common corruptions of pictures, as in CIFAR-10-C and ImageNet-C, made where they are needed."""

from persistill.evaluation.corruptions.corrupt import corrupt
from persistill.evaluation.corruptions.error import corruption_error, mean_accuracies, relative_corruption_error
from persistill.evaluation.corruptions.table import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES, corruption_names

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
