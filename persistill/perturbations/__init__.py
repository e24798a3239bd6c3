"""Images made harder: noise, common corruptions and adversarial attacks."""

from persistill.perturbations.adversarial import fgsm, pgd
from persistill.perturbations.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    SEVERITIES,
    corrupt,
    corruption_error,
    corruption_names,
    mean_accuracies,
    relative_corruption_error,
)
from persistill.perturbations.gaussian_noise import Transform, gaussian_noise

__all__ = [
    "CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "SEVERITIES",
    "Transform",
    "corrupt",
    "corruption_error",
    "corruption_names",
    "fgsm",
    "gaussian_noise",
    "mean_accuracies",
    "pgd",
    "relative_corruption_error",
]
