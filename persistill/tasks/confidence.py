"""Figures of confidence, as they are and after temperature scaling, of whatever is classified: images or pixels."""

from typing import Any

from torch import Tensor

from persistill.metrics.calibration import classwise_ece, ece, ece_equal_mass, fit_temperature
from persistill.metrics.classification import brier, nll


def confidence(logits: Tensor, target: Tensor, bins: int) -> dict[str, float]:
    """Proper scores and calibration errors.

    Args:
        logits: (N, K).
        target: (N,) class numbers.
        bins: of the calibration errors.
    """
    return {
        "nll": nll(logits, target),
        "brier": brier(logits, target),
        "ece": ece(logits, target, bins),
        "ece_equal_mass": ece_equal_mass(logits, target, bins),
        "classwise_ece": classwise_ece(logits, target, bins),
    }


def calibrated(logits: Tensor, target: Tensor, held_out: Tensor, held_out_target: Tensor, bins: int) -> dict[str, Any]:
    """The same, once logits are divided by the temperature that was fitted on held-out ones.

    Args:
        logits: (N, K) of the test images.
        target: (N,) class numbers.
        held_out: (M, K) of the validation images.
        held_out_target: (M,) class numbers.
        bins: of the calibration errors.
    """
    temperature = fit_temperature(held_out, held_out_target)
    # In float64: rounding must not make ties.
    return {"temperature": temperature, **confidence(logits.double() / temperature, target, bins)}
