"""Run folders -> tables, figures, one HTML page. Imports no torch: a report can be made again years later."""

from persistill.report.against_baseline import against_baseline, verdicts
from persistill.report.card import model_card, write_card_of_exported
from persistill.report.comparison import ArmSummary, Comparison, Epoch, Run, Sample, View, read
from persistill.report.decision import Decision, decide
from persistill.report.page import write
from persistill.report.paper import write_paper
from persistill.report.published import differences, published
from persistill.report.significance import Difference, paired_difference, sentence
from persistill.report.similarity import Similarity, SimilarityStage, similarity_maps
from persistill.report.sweep import write_sweep
from persistill.report.table import Table, header, markdown, note, overview, rows

__all__ = [
    "ArmSummary",
    "Comparison",
    "Decision",
    "Difference",
    "Epoch",
    "Run",
    "Sample",
    "Similarity",
    "SimilarityStage",
    "Table",
    "View",
    "against_baseline",
    "decide",
    "differences",
    "header",
    "markdown",
    "model_card",
    "note",
    "overview",
    "paired_difference",
    "published",
    "read",
    "rows",
    "sentence",
    "similarity_maps",
    "verdicts",
    "write",
    "write_card_of_exported",
    "write_paper",
    "write_sweep",
]
