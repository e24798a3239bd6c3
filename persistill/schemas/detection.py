"""The figures of an evaluation of a detector, as ``docs/detection.md`` lists them."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from persistill.schemas.base import Count, Schema, Share


class _ByClass(Schema):
    ap: list[Share | None]
    ap50: list[Share | None]
    objects: Annotated[list[Count], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("ap", "ap50"):
            if len(getattr(self, name)) != len(self.objects):
                raise ValueError(f"{name} has {len(getattr(self, name))} entries, and objects {len(self.objects)}")
        return self


class _Errors(Schema):
    right: Count
    misplaced: Count
    confused: Count
    repeated: Count
    background: Count
    missed: Count


class DetectionMetrics(Schema):
    """Fractions; null where no object counts.

    Attributes:
        by_class: average precisions of each class, and the number of its objects that count.
        errors: what detections with a score of 0.3 or more are, and objects that nothing is about.
        objects: that count, of all classes.
    """

    ap: Share | None = None
    ap50: Share | None = None
    ap75: Share | None = None
    ap_small: Share | None = None
    ap_medium: Share | None = None
    ap_large: Share | None = None
    ar1: Share | None = None
    ar10: Share | None = None
    ar100: Share | None = None
    ar_small: Share | None = None
    ar_medium: Share | None = None
    ar_large: Share | None = None
    voc_ap50: Share | None = None
    voc_ap50_11_point: Share | None = None
    d_ece: Share | None = None
    objects: Count | None = None
    by_class: _ByClass | None = None
    errors: _Errors | None = None
