"""A figure by which networks are told apart, and how it is read."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class Measure(NamedTuple):
    """A figure of an evaluation.

    Attributes:
        name: under which validation and comparisons between networks hold it.
        title: for people, "Accuracy".
        path: where it stands in the metrics of an evaluation; empty for the name alone.
        unit: "%" for fractions, which are shown in per cent; "nats"; empty for plain numbers.
        larger_is_better: which way it is read.
    """

    name: str
    title: str
    path: tuple[str, ...] = ()
    unit: Literal["%", "nats", ""] = "%"
    larger_is_better: bool = True

    def of(self, metrics: Mapping[str, Any]) -> float | None:
        """Its value among the metrics of an evaluation; None where it was not measured, or not finite."""
        value: Any = metrics
        for name in self.path or (self.name,):
            value = value.get(name) if isinstance(value, Mapping) else None
        return None if value is None else float(value)

    def to_json(self) -> dict[str, Any]:
        """For the run folder of a comparison, from which reports are made."""
        return {
            "name": self.name,
            "title": self.title,
            "path": list(self.path or (self.name,)),
            "unit": self.unit,
            "larger_is_better": self.larger_is_better,
        }
