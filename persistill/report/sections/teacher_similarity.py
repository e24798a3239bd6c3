"""How alike students and their teachers are: in what they answer, and in how they lay images out."""

import math

from persistill.report.comparison import ArmSummary, Comparison, Sample
from persistill.report.figure import Section
from persistill.report.table import Table, spread

_SIMILARITY = (
    "Agreement is the share of images that both put into the same class, rightly or not; KL is the divergence of the "
    "student's probabilities from the teacher's. CKA compares embeddings up to rotation and scale: 1 is equal. The "
    "diagram distance is how far the bars of their persistence diagrams in dimension 0 lie apart on average, in units "
    "of the typical distance of two points: 0 is equal."
)
_CLUSTERS = "The V-measure is 1 where k-means finds the classes."


def likeness(comparison: Comparison) -> Section | str:
    """A row for each student and teacher, and the V-measure of every network."""
    rows = []
    for arm in (arm for arm in comparison.arms if arm.runs):
        for teacher in comparison.teachers:
            figures = {
                name: _sample(comparison, arm, teacher, name) for name in ("agreement", "kl", "cka", "diagram_distance")
            }
            if any(sample.values for sample in figures.values()):
                rows.append(
                    (
                        arm.label,
                        teacher.name,
                        spread(figures["agreement"], 100),
                        spread(figures["kl"], digits=3),
                        spread(figures["cka"], digits=3),
                        spread(figures["diagram_distance"], digits=4),
                    )
                )
    clusters = tuple(
        (arm.label, spread(arm.figures("v_measure"), digits=3))
        for arm in comparison.everyone
        if arm.figures("v_measure").values
    )
    tables = []
    if rows:
        tables.append(
            Table(
                "Students beside teachers, on the test images; mean and sample standard deviation over seeds.",
                ("Student", "Teacher", "Agreement %", "KL, nats", "CKA", "Diagram distance"),
                tuple(rows),
            )
        )
    if clusters:
        tables.append(
            Table(
                "Clusters of the embeddings, found without labels, against the classes.",
                ("Network", "V-measure"),
                clusters,
            )
        )
    if not tables:
        return "Likeness of students and teachers: it was not measured in this comparison (evaluate.similarity)."
    return Section(
        name="likeness",
        title="Students and teachers",
        # Only what has a column is explained.
        text=" ".join(text for text, shown in ((_SIMILARITY, rows), (_CLUSTERS, clusters)) if shown),
        tables=tuple(tables),
    )


def _sample(comparison: Comparison, arm: ArmSummary, teacher: ArmSummary, name: str) -> Sample:
    values = []
    for run in arm.runs:
        value = comparison.likeness.get(run.folder, {}).get(teacher.name, {}).get(name)
        if value is None or not math.isfinite(value):
            return Sample(())
        values.append(value)
    return Sample(tuple(values))
