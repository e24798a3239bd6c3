"""DIST: distillation from a stronger teacher (Huang, You, Wang, Qian and Xu 2022, NeurIPS, arXiv 2205.10536)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from persistill.losses.base import STANDARDIZED_PAIR, AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import (
    check_logits,
    flatten_logits,
    full_precision,
    normalize_deviations,
    standardize_logits,
)
from persistill.structures import ModelOutput


def correlation_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the Pearson correlation of two matrices, row by row, averaged over rows.

    Scale and shift of a row do not matter. A constant row correlates with nothing: it counts as 1 and teaches nothing.

    Args:
        student: (B, N).
        teacher: (B, N).

    Returns:
        A scalar, 0 to 2.
    """
    correlations = (normalize_deviations(student) * normalize_deviations(teacher)).sum(1)
    return 1 - correlations.mean()


def relational_match(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """How far the relations between classes, and between images, are from the teacher's.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K).
        temperature: divides the logits, above 0.

    Returns:
        Two scalars, each temperature squared times ``correlation_distance`` of class probabilities: of an image over
        the classes ("inter"), and of a class over the images ("intra").

    Raises:
        UserError: if the shapes differ, or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits, temperature)
    student, teacher = (
        torch.softmax(full_precision(logits) / temperature, dim=1) for logits in (student_logits, teacher_logits)
    )
    return temperature**2 * correlation_distance(student, teacher), temperature**2 * correlation_distance(
        student.T, teacher.T
    )


class DIST(DistillationLoss):
    """Class probabilities that correlate with the first teacher's. Terms "dist_inter" and "dist_intra".

    Attributes:
        inter: weight of "dist_inter", relations between classes; 2 is the authors' (as 1, times 2 for the whole).
        intra: weight of "dist_intra", relations between images; likewise.
        temperature: divides the logits of both; the authors take 4 on CIFAR-100 and 1 on ImageNet.
        standardize: compare the z-scores of the logits instead of the logits (see ``losses.standardize_logits``).
    """

    required_outputs = frozenset({"logits"})

    inter: Annotated[float, Field(ge=0)] = 2.0
    intra: Annotated[float, Field(ge=0)] = 2.0
    temperature: Annotated[float, Field(gt=0)] = 4.0
    standardize: bool = False

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The defaults; of two classes, without the term that is constant."""
        return Suggestion(cls(inter=0.0) if context.num_classes == 2 else cls())

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """Relations between the classes, where there are two; and those between images, if logits are standardized."""
        if num_classes != 2:
            return {}
        inter = "two probabilities sum to 1, so that those of student and teacher correlate by -1 or 1: set inter=0"
        return {"dist_inter": inter, **({"dist_intra": STANDARDIZED_PAIR} if self.standardize else {})}

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "dist_inter" and "dist_intra"."""
        return {"dist_inter": self.inter, "dist_intra": self.intra}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The terms "dist_inter" and "dist_intra" of ``relational_match``, each a scalar."""
        seen = standardize_logits if self.standardize else full_precision
        flat = flatten_logits(student.logits, [teachers[0].logits], target)
        inter, intra = relational_match(seen(flat.student), seen(flat.teachers[0]), self.temperature)
        return {"dist_inter": inter, "dist_intra": intra}
