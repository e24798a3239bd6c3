"""Common corruptions of pictures, as in CIFAR-10-C and ImageNet-C, made where they are needed."""

from persistill.evaluation.corruptions.corrupt import corrupt
from persistill.evaluation.corruptions.table import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES

__all__ = ["CORRUPTIONS", "EXTRA_CORRUPTIONS", "SEVERITIES", "corrupt"]
