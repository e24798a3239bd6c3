"""AveragedKD: the mean of several teachers (You et al. 2017, KDD, "Learning from Multiple Teacher Networks")."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.base import STANDARDIZED_PAIR, AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import check_logits, flatten_logits, full_precision, standardize_logits
from persistill.structures import ModelOutput


def averaged_kl(student_logits: Tensor, teacher_logits: Sequence[Tensor], temperature: float) -> Tensor:
    """Temperature squared times KL(mean of the teachers || student) at that temperature.

    The mean is that of class probabilities. Its gradient is that of the mean of KL(teacher || student) over the
    teachers, from which it differs by what the teachers disagree.

    Args:
        student_logits: (B, K).
        teacher_logits: (B, K), one tensor a teacher.
        temperature: divides all logits, above 0.

    Returns:
        A scalar, 0 or more; 0 where the student has the mean of the teachers' probabilities.

    Raises:
        UserError: if there is no teacher, the shapes differ, or the temperature is not above 0.
    """
    if not teacher_logits:
        raise UserError("the mean of several teachers is wanted, and none was given.")
    for logits in teacher_logits:
        check_logits(student_logits, logits, temperature)
    with torch.autocast(student_logits.device.type, enabled=False):
        each = torch.stack([F.log_softmax(full_precision(logits) / temperature, dim=1) for logits in teacher_logits])
        teacher = each.logsumexp(0) - math.log(len(teacher_logits))
        student = F.log_softmax(full_precision(student_logits) / temperature, dim=1)
        return temperature**2 * (teacher.exp() * (teacher - student)).sum(1).mean()


class AveragedKD(DistillationLoss):
    """Softened class probabilities follow the mean of those of all teachers of the arm. One term, "averaged_kd".

    Attributes:
        weight: of the term; 0.9, beside cross-entropy 0.1, is usual for KD.
        temperature: divides all logits.
        standardize: compare the z-scores of the logits instead of the logits (see ``losses.standardize_logits``).
    """

    required_outputs = frozenset({"logits"})
    num_teachers = 2

    weight: Annotated[float, Field(ge=0)] = 0.9
    temperature: Annotated[float, Field(gt=0)] = 4.0
    standardize: bool = False

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:  # noqa: ARG003 - the same for all images
        """Most of the loss: a tenth of it is left to the labels, as published for KD."""
        return Suggestion(cls(), cross_entropy=0.1)

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """The term of standardized logits, with two classes."""
        return {"averaged_kd": STANDARDIZED_PAIR} if self.standardize and num_classes == 2 else {}

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of "averaged_kd"."""
        return {"averaged_kd": self.weight}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "averaged_kd": ``averaged_kl`` over all teachers, a scalar."""
        seen = standardize_logits if self.standardize else full_precision
        flat = flatten_logits(student.logits, [teacher.logits for teacher in teachers], target)
        taught = [seen(logits) for logits in flat.teachers]
        return {"averaged_kd": averaged_kl(seen(flat.student), taught, self.temperature)}
