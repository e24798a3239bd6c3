"""From accuracies under corruption to one number: the mean corruption error, absolute and relative to a baseline."""

import math
from collections.abc import Mapping, Sequence

from persistill.errors import UserError
from persistill.perturbations.corruptions.registry import CORRUPTIONS

Accuracies = Mapping[str, Mapping[str, float]]
"""Corruption -> severity ("1" to "5") -> accuracy."""


def corruption_error(accuracies: Accuracies) -> float:
    """Mean corruption error: the mean of 1 - accuracy over corruptions and severities.

    Args:
        accuracies: under corruption, of one network. Of the corruptions in it, those in ``CORRUPTIONS`` count.

    Returns:
        A fraction in [0, 1]; NaN if none of them counts.
    """
    errors = [sum(_errors(accuracies[name])) / len(accuracies[name]) for name in _counted(accuracies)]
    return math.fsum(errors) / len(errors) if errors else math.nan


def relative_corruption_error(accuracies: Accuracies, baseline: Accuracies) -> float:
    """Mean corruption error relative to a baseline (Hendrycks and Dietterich 2019, section 4).

    For each corruption c the errors at all severities s are summed and divided by the baseline's sum, and the mean is
    taken of these ratios: ``mCE = mean_c (sum_s E[s, c] / sum_s E_baseline[s, c])``.

    Args:
        accuracies: under corruption, of one network.
        baseline: likewise, of the network (or the mean of the networks) that it is compared with.

    Returns:
        1 for errors like the baseline's, less for fewer. Corruptions under which the baseline makes no error are left
        out; NaN if none is left.

    Raises:
        UserError: if the two were not measured on the same corruptions and severities.
    """
    if {name: set(of) for name, of in accuracies.items()} != {name: set(of) for name, of in baseline.items()}:
        raise UserError(
            "relative corruption errors need accuracies at the same corruptions and severities on both sides; "
            f"{', '.join(accuracies) or 'none'} and {', '.join(baseline) or 'none'} were given."
        )
    sums = [(sum(_errors(accuracies[name])), sum(_errors(baseline[name]))) for name in _counted(accuracies)]
    ratios = [own / other for own, other in sums if other > 0]
    return math.fsum(ratios) / len(ratios) if ratios else math.nan


def mean_accuracies(given: Sequence[Accuracies]) -> dict[str, dict[str, float]]:
    """The mean over networks, at least one, that were measured on the same corruptions and severities."""
    return {
        name: {severity: math.fsum(one[name][severity] for one in given) / len(given) for severity in of}
        for name, of in given[0].items()
    }


def _counted(accuracies: Accuracies) -> list[str]:
    return [name for name in CORRUPTIONS if name in accuracies]


def _errors(accuracies: Mapping[str, float]) -> list[float]:
    return [1 - accuracy for accuracy in accuracies.values()]
