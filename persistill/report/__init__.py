"""Run folders -> tables, figures, one HTML page. Imports no torch: a report can be made again years later."""

from persistill.report.comparison import ArmSummary, Comparison, Epoch, Run, Sample, View, read
from persistill.report.page import write
from persistill.report.published import differences, published
from persistill.report.table import Table, header, markdown, note, rows

__all__ = [
    "ArmSummary",
    "Comparison",
    "Epoch",
    "Run",
    "Sample",
    "Table",
    "View",
    "differences",
    "header",
    "markdown",
    "note",
    "published",
    "read",
    "rows",
    "write",
]
