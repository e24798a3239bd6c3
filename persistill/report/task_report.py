"""What a comparison's run folder says of its task: which figures there are, and which sections they go into."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_SECTIONS = (
    *("significance", "accuracy", "class_scores", "published", "cost", "training", "calibration", "selective"),
    *("noise", "corruptions", "adversarial_ood", "teacher_similarity", "similarity", "embeddings", "confusion"),
    *("hardest_images", "gallery", "only_topology", "reproducibility"),
)

_SUGGESTIONS = ("kd", "kd+sp", "dkd", "dist")


@dataclass(frozen=True)
class Measure:
    """A figure of an evaluation.

    Attributes:
        name: under which validation holds it, and files that have a row for each image.
        title: for people.
        path: where it stands in the metrics of an evaluation.
        unit: "%" for fractions, which are shown in per cent; "nats"; empty for plain numbers.
        larger_is_better: which way it is read.
    """

    name: str
    title: str
    path: tuple[str, ...]
    unit: str = "%"
    larger_is_better: bool = True

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """From what the task wrote."""
        return cls(**{**content, "path": tuple(content["path"])})

    @property
    def percent(self) -> str:
        """What follows titles and values of fractions, " %"; empty for others."""
        return " %" if self.unit == "%" else ""

    @property
    def header(self) -> str:
        """Title of its column."""
        return f"{self.title}{self.percent}"

    @property
    def scale(self) -> float:
        """By which values are multiplied before they are shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def digits(self) -> int:
        """After the point."""
        return 2 if self.unit == "%" else 3

    @property
    def in_text(self) -> str:
        """Its title within a sentence: "accuracy", "macro F1", but "NLL" and "mIoU"."""
        first, space, others = self.title.partition(" ")
        return self.title if first[1:].lower() != first[1:] else f"{first.lower()}{space}{others}"

    def show(self, value: float) -> str:
        """A value without its unit."""
        return f"{self.scale * value:.{self.digits}f}" if math.isfinite(value) else "not finite"

    def stated(self, value: float) -> str:
        """A value within a sentence: "accuracy 96.80 %", "NLL 0.312"."""
        return f"{self.in_text} {self.show(value)}{self.percent}"

    def difference(self, value: float) -> str:
        """A difference with its sign and unit: "+1.20 points", "-0.031 nats"."""
        if not math.isfinite(value):
            return "not finite"
        text = f"{self.scale * value:+.{self.digits}f}".replace("-", "\N{MINUS SIGN}")
        return f"{text} {'points' if self.unit == '%' else self.unit}".rstrip()


def interval(measure: Measure, low: float, high: float) -> str:
    """An interval of a difference with its unit once: "-1.20 to +0.40 points"."""
    return f"{measure.difference(low).split(' ')[0]} to {measure.difference(high)}"


@dataclass(frozen=True)
class TaskReport:
    """A task, as far as reports know it.

    Attributes:
        name: as in the recipe.
        pipeline_tag: what the Hub calls the task.
        measures: of validation; the first is the one figure by which networks are compared.
        columns: of the main table.
        differences: that are compared with the baseline, image by image.
        sections: of the page, in order.
        suggestions: methods that are worth a try, by their names in ``--method``.
    """

    name: str
    pipeline_tag: str
    measures: tuple[Measure, ...]
    columns: tuple[Measure, ...]
    differences: tuple[Measure, ...]
    sections: tuple[str, ...]
    suggestions: tuple[str, ...] = _SUGGESTIONS

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """From what a comparison's run folder holds."""
        found = {name: tuple(map(Measure.from_json, content[name])) for name in ("measures", "columns", "differences")}
        sections, suggestions = tuple(content["sections"]), tuple(content.get("suggestions", _SUGGESTIONS))
        return cls(content["name"], content["pipeline_tag"], **found, sections=sections, suggestions=suggestions)

    @property
    def figure(self) -> Measure:
        """The one figure by which networks are compared."""
        return self.measures[0]


_ACCURACY = Measure("accuracy", "Accuracy", ("accuracy",))
_NLL = Measure("nll", "NLL", ("nll",), "nats", larger_is_better=False)
_ECE = Measure("ece", "ECE", ("ece",), larger_is_better=False)
CLASSIFICATION = TaskReport(
    "classification",
    "image-classification",
    measures=(_ACCURACY, _NLL),
    columns=(_ACCURACY, _NLL, _ECE),
    differences=(_ACCURACY, _NLL),
    sections=_SECTIONS,
)
"""What comparisons are about that were made before tasks had names."""
