"""The figures of an evaluation, as ``docs/evaluation.md`` lists them; a task of one's own may have others beside."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from persistill.schemas.base import Count, Positive, Schema, Share, Temperature, Text
from persistill.schemas.detection import DetectionMetrics

_Level = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(e[+\-]?\d{1,2})?$", max_length=40)]
_BySeverity = dict[str, dict[_Level, Share | None]]


class _Confidence(Schema):
    nll: float | None = None
    brier: Annotated[float, Field(ge=0, le=2.000001)] | None = None
    ece: Share | None = None
    ece_equal_mass: Share | None = None
    classwise_ece: Share | None = None


class _Calibrated(_Confidence):
    temperature: Temperature


class _TopK(Schema):
    k: Positive
    accuracy: Share


class _Selective(Schema):
    coverage: Annotated[list[Share], Field(min_length=1)]
    accuracy: list[Share]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.accuracy) != len(self.coverage):
            raise ValueError(f"accuracy has {len(self.accuracy)} entries, and coverage {len(self.coverage)}")
        return self


class _ByClass(Schema):
    precision: list[Share | None]
    recall: list[Share | None]
    f1: list[Share | None]
    support: Annotated[list[Count], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("precision", "recall", "f1"):
            if len(getattr(self, name)) != len(self.support):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, and support {len(self.support)}")
        return self


class _Attacks(Schema):
    images: Positive
    accuracy: Share
    steps: Count | None = None
    fgsm: dict[_Level, Share]
    pgd: dict[_Level, Share]


class _Ood(Schema):
    source: Text
    images: Positive
    max_softmax: Share | None
    energy: Share | None


class _Corruptions(Schema):
    images: Positive
    clean: Share | None
    error: Share | None
    accuracy: _BySeverity | None = None
    miou: _BySeverity | None = None
    ap: _BySeverity | None = None


class _Nothing(Schema, extra="forbid"):
    """An empty object: this network was not shown such images."""


class Metrics(_Confidence, DetectionMetrics):
    """Fractions, and negative log-likelihoods in nats; null where a figure was not finite."""

    accuracy: Share | None = None
    balanced_accuracy: Share | None = None
    macro_f1: Share | None = None
    classes: _ByClass | None = None
    miou: Share | None = None
    pixel_accuracy: Share | None = None
    iou: list[Share | None] | None = None
    noise: dict[_Level, Share | None] = Field(default_factory=dict)
    top_k: _TopK | None = None
    calibrated: _Calibrated | None = None
    aurc: Share | None = None
    selective: _Selective | None = None
    v_measure: Share | None = None
    attacks: _Attacks | _Nothing = _Nothing()
    ood: _Ood | None = None
    corruptions: _Corruptions | _Nothing = _Nothing()
    evaluators: dict[str, dict[str, float | None]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _stated(cls, content: Any) -> Any:
        """A figure that is stated as null where it must be an object is as wrong as any other value."""
        if isinstance(content, dict):
            for name in ("top_k", "calibrated", "selective"):
                if name in content and content[name] is None:
                    raise ValueError(f"{name} is null; leave it out where it was not measured")
        return content
