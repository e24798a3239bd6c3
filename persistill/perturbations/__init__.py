"""Perturbed images: noise, common corruptions and adversarial attacks."""

from persistill.perturbations.adversarial import fgsm, pgd
from persistill.perturbations.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    NamedCorruption,
    corrupt,
    corruption_error,
    find_corruptions,
    mean_accuracies,
    relative_corruption_error,
)
from persistill.perturbations.gaussian_noise import Transform, gaussian_noise

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "SEVERITIES",
    "NamedCorruption",
    "Transform",
    "corrupt",
    "corruption_error",
    "fgsm",
    "find_corruptions",
    "gaussian_noise",
    "mean_accuracies",
    "pgd",
    "relative_corruption_error",
]
