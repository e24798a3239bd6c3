"""Images that were changed to mislead a network, and images of things that it never saw."""

from persistill.report.comparison import ArmSummary, Comparison
from persistill.report.figure import Section
from persistill.report.table import Table, spread

_ATTACKS = {"fgsm": "FGSM", "pgd": "PGD"}
_ATTACKED = (
    "FGSM takes one step along the sign of the gradient, PGD several from a random start; both know the network. They "
    "are simple attacks: what withstands them need not withstand a better one."
)
_OTHER = (
    "Images of another data set should find a network less sure. AUROC is the chance that it is surer of a test "
    "image than of another one; 50 % tells nothing."
)


def threats(comparison: Comparison) -> Section | str:
    """Accuracy under FGSM and PGD, and how well confidence tells other images apart: two tables."""
    arms = comparison.everyone
    told = [(table, text) for table, text in ((_attacks(arms), _ATTACKED), (_ood(arms), _OTHER)) if table is not None]
    if not told:
        return "Attacks and other images: no network of this comparison was measured on them (evaluate.attacks, ood)."
    return Section(
        name="threats",
        title="Attacks and other images",
        text="\n\n".join(text for _, text in told),
        tables=tuple(table for table, _ in told),
    )


def _attacks(arms: tuple[ArmSummary, ...]) -> Table | None:
    found = [(arm, arm.runs[0].metrics.get("attacks") or {}) for arm in arms]
    found = [(arm, attacks) for arm, attacks in found if attacks]
    if not found:
        return None
    first = found[0][1]
    columns = [(name, level) for name in _ATTACKS for level in first.get(name, {})]
    rows = tuple(
        (
            arm.label,
            spread(arm.figures("attacks", "accuracy"), 100),
            *(spread(arm.figures("attacks", name, level), 100) for name, level in columns),
        )
        for arm, _ in found
    )
    return Table(
        f"Accuracy % on {first['images']:,} test images, as they are and attacked; PGD takes {first['steps']} "
        "steps. Strengths are the largest change of a value, in 255ths of the range.",
        ("Network", "Accuracy %", *(f"{_ATTACKS[name]} {level}" for name, level in columns)),
        rows,
    )


def _ood(arms: tuple[ArmSummary, ...]) -> Table | None:
    found = [(arm, arm.runs[0].metrics.get("ood") or {}) for arm in arms]
    found = [(arm, other) for arm, other in found if other]
    if not found:
        return None
    first = found[0][1]
    rows = tuple(
        (arm.label, spread(arm.figures("ood", "max_softmax"), 100), spread(arm.figures("ood", "energy"), 100))
        for arm, _ in found
    )
    return Table(
        f"AUROC % against {first['images']:,} images of {first['source']}.",
        ("Network", "AUROC % of confidence", "AUROC % of energy"),
        rows,
    )
