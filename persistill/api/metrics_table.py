"""The figures of one network as a table."""

from collections.abc import Iterator, Mapping
from typing import Any

from persistill.config import Evaluate
from persistill.report import Table

_NONE = "not finite"


def table(metrics: Mapping[str, Any], settings: Evaluate) -> Table:
    """All figures of an evaluation; beside those of confidence, what they are after temperature scaling.

    Args:
        metrics: as ``evaluation.evaluate`` returns them.
        settings: what was asked for.
    """
    rows = (*_answers(metrics, settings.ece_bins), *_robustness(metrics))
    return Table(
        caption="Measured on the test images.",
        header=("Metric", "Value", "Calibrated"),
        rows=tuple((*row, "")[:3] for row in rows),
    )


def _answers(metrics: Mapping[str, Any], bins: int) -> Iterator[tuple[str, ...]]:
    calibrated = metrics["calibrated"]
    best = metrics["top_k"]
    yield "accuracy %", _percent(metrics["accuracy"])
    yield f"accuracy % of the best {best['k']} answers", _percent(best["accuracy"])
    for name, title in (("nll", "NLL"), ("brier", "Brier score")):
        yield title, _number(metrics[name]), _number(calibrated[name])
    for name, title in (
        ("ece", f"ECE % ({bins} bins of equal width)"),
        ("ece_equal_mass", f"ECE % ({bins} bins of equal mass)"),
        ("classwise_ece", f"classwise ECE % ({bins} bins)"),
    ):
        yield title, _percent(metrics[name]), _percent(calibrated[name])
    yield "temperature, fitted on validation images", "", _number(calibrated["temperature"])
    yield "area under the risk-coverage curve %", _percent(metrics["aurc"])
    surest = metrics["selective"]
    yield "accuracy % of the surer half", _percent(surest["accuracy"][len(surest["accuracy"]) // 2 - 1])
    yield "V-measure of clustered embeddings", _number(metrics["v_measure"])


def _robustness(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for sigma, accuracy in metrics["noise"].items():
        yield f"accuracy % at noise {sigma}", _percent(accuracy)
    attacks = metrics["attacks"]
    if attacks:
        yield f"accuracy % on the {attacks['images']:,} images that are attacked", _percent(attacks["accuracy"])
        for name in ("fgsm", "pgd"):
            for level, accuracy in attacks[name].items():
                yield f"accuracy % under {name.upper()}, {level}/255", _percent(accuracy)
    corruptions = metrics["corruptions"]
    if corruptions:
        yield f"mean corruption error % ({corruptions['images']:,} images)", _percent(corruptions["error"])
    if metrics["ood"]:
        other = metrics["ood"]
        for name, title in (("max_softmax", "confidence"), ("energy", "energy")):
            yield f"AUROC % of {title} against {other['images']:,} of {other['source']}", _percent(other[name])


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.2f}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4f}"
