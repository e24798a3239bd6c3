"""WTTM: weighted transformed teacher matching (Zheng and Yang 2024, ICLR, arXiv 2402.11148)."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.base import DistillationLoss
from persistill.losses.functional import check_logits, flatten_logits, full_precision
from persistill.structures import ModelOutput


def transformed_teacher_kl(
    student_logits: Tensor, teacher_logits: Tensor, exponent: float, *, weighted: bool = True
) -> Tensor:
    """KL(transformed teacher || student), where the teacher alone is softened (algorithm 1 of the paper).

    The teacher's probabilities p become p^exponent over their sum, which is a softmax at temperature 1 / exponent; the
    student's stay as they are. Weighted, each image counts by the sum of its p^exponent: 1 where the teacher is sure,
    more where its answer is smooth.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K).
        exponent: above 0; below 1 it softens.
        weighted: whether images count by their power sums ("WTTM"), or all alike ("TTM").

    Returns:
        A scalar, 0 or more; 0 where the student has the transformed probabilities, and not where it has the teacher's.

    Raises:
        UserError: if the shapes differ or the exponent is not above 0.
    """
    if not exponent > 0:
        raise UserError(f"the exponent must be above 0; {exponent} was given.")
    check_logits(student_logits, teacher_logits, 1.0)
    with torch.autocast(student_logits.device.type, enabled=False):
        student = F.log_softmax(full_precision(student_logits), dim=1)
        powers = exponent * F.log_softmax(full_precision(teacher_logits), dim=1)
        log_sum = powers.logsumexp(1, keepdim=True)
        transformed = powers - log_sum
        divergences = (transformed.exp() * (transformed - student)).sum(1)
        return (log_sum.squeeze(1).exp() * divergences).mean() if weighted else divergences.mean()


class WTTM(DistillationLoss):
    """The student's probabilities follow the softened ones of its first teacher. One term, "wttm".

    It does not vanish where the student equals the teacher: it asks for a smoother student.

    Attributes:
        weight: of the term; beside the whole cross-entropy the authors tune it by pair of networks, 4 for WRN-40-2 to
            WRN-16-2.
        exponent: of the teacher's probabilities, one over a temperature; 0.1 for most of the authors' pairs on
            CIFAR-100, 0.7 and 0.8 on ImageNet.
        weighted: False for the authors' "TTM", where all images count alike.
    """

    required_outputs = frozenset({"logits"})
    vanishes_at_equality = False

    weight: Annotated[float, Field(ge=0)] = 4.0
    exponent: Annotated[float, Field(gt=0)] = 0.1
    weighted: bool = True

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "wttm": ``transformed_teacher_kl``, a scalar."""
        flat = flatten_logits(student.logits, [teachers[0].logits], target)
        value = transformed_teacher_kl(flat.student, flat.teachers[0], self.exponent, weighted=self.weighted)
        return {"wttm": value}
