"""Published figures beside ours, and what keeps the two apart."""

from persistill.report.comparison import Comparison
from persistill.report.figure import Section
from persistill.report.published import differences
from persistill.report.published import published as tables


def published(comparison: Comparison) -> Section | str:
    """The tables of ``report.published``, under what must be known to read them."""
    found = tables(comparison)
    if not found:
        return "Published figures: the recipe names none."
    apart = differences(comparison)
    text = "Figures that others printed, beside those of this comparison."
    if apart:
        text += f"\n\nWhat keeps them apart: {' '.join(apart)}"
    return Section(name="published", title="Published figures", text=text, tables=tuple(found))
