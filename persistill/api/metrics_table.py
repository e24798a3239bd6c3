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
    calibrated = metrics.get("calibrated", {})
    for name, title in (
        ("accuracy", "accuracy %"),
        ("balanced_accuracy", "balanced accuracy %"),
        ("macro_f1", "macro F1 %"),
        ("miou", "mIoU %"),
        ("pixel_accuracy", "pixel accuracy %"),
        ("ap", "AP %"),
        ("ap50", "AP50 %"),
        ("ap75", "AP75 %"),
        ("voc_ap50", "AP50 of Pascal VOC %"),
        ("d_ece", "D-ECE %"),
    ):
        if name in metrics:
            yield title, _percent(metrics[name])
    if "top_k" in metrics:
        best = metrics["top_k"]
        yield f"accuracy % of the best {best['k']} answers", _percent(best["accuracy"])
    for name, title, show in (
        ("nll", "NLL", _number),
        ("brier", "Brier score", _number),
        ("ece", f"ECE % ({bins} bins of equal width)", _percent),
        ("ece_equal_mass", f"ECE % ({bins} bins of equal mass)", _percent),
        ("classwise_ece", f"classwise ECE % ({bins} bins)", _percent),
    ):
        if name in metrics:
            yield title, show(metrics[name]), show(calibrated.get(name))
    if calibrated:
        yield "temperature, fitted on validation images", "", _number(calibrated["temperature"])
    if "selective" in metrics:
        yield "area under the risk-coverage curve %", _percent(metrics["aurc"])
        surest = metrics["selective"]
        yield "accuracy % of the surer half", _percent(surest["accuracy"][len(surest["accuracy"]) // 2 - 1])
    if "v_measure" in metrics:
        yield "V-measure of clustered embeddings", _number(metrics["v_measure"])


def _robustness(metrics: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    figure = next((title for name, title in (("miou", "mIoU"), ("ap", "AP")) if name in metrics), "accuracy")
    for sigma, value in metrics["noise"].items():
        yield f"{figure} % at noise {sigma}", _percent(value)
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
