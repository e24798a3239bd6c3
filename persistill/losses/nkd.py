"""NKD: normalized knowledge distillation (Yang, Zeng, Li, Zhang, Yuan and Li 2023, ICCV, arXiv 2303.13005)."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.base import AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import check_logits, flatten_logits, full_precision
from persistill.structures import ModelOutput


def normalized_kd(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Cross-entropies of the target, by the teacher's confidence in it, and of the other classes among themselves.

    Args:
        student_logits: (B, K), K at least 2.
        teacher_logits: (B, K).
        target: (B,) class numbers.
        temperature: of the second part, above 0.

    Returns:
        Two scalars, means over the batch, 0 or more: -p log q, with p and q the teacher's and
        the student's probability of the target at temperature 1; and temperature squared times the cross-entropy of the
        student's probabilities of the other classes, which sum to 1 among themselves, under the teacher's.

    Raises:
        UserError: if the shapes differ, there is one class alone, or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits, temperature)
    classes = student_logits.shape[1]
    if classes < 2:
        raise UserError("NKD sets the target class against the others, and the logits hold 1 class. Use KD.")
    with torch.autocast(student_logits.device.type, enabled=False):
        student, teacher = full_precision(student_logits), full_precision(teacher_logits)
        confidence = F.softmax(teacher, dim=1).gather(1, target[:, None]).squeeze(1)
        of_target = (confidence * F.cross_entropy(student, target, reduction="none")).mean()
        others = torch.arange(classes - 1, device=target.device).expand(len(target), -1)
        others = others + (others >= target[:, None]).long()
        soft = F.softmax(teacher.gather(1, others) / temperature, dim=1)
        of_others = F.cross_entropy(student.gather(1, others) / temperature, soft)
    return of_target, temperature**2 * of_others


class NKD(DistillationLoss):
    """The target by the teacher's confidence, and the other classes normalized. Terms "nkd_target" and "nkd_others".

    Both are cross-entropies, which do not vanish where the student equals the teacher: the first pulls on to the
    target, the second keeps the entropy of the teacher's probabilities.

    Attributes:
        target: weight of "nkd_target"; 1 in the paper.
        others: weight of "nkd_others", the paper's gamma; 1.5 is the default of the authors' code and their value on
            ImageNet.
        temperature: of "nkd_others"; 1 on ImageNet, where the authors' code has 3 for CIFAR-100.
    """

    required_outputs = frozenset({"logits"})
    vanishes_at_equality = False

    target: Annotated[float, Field(ge=0)] = 1.0
    others: Annotated[float, Field(ge=0)] = 1.5
    temperature: Annotated[float, Field(gt=0)] = 1.0

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The defaults; of two classes, without the term that is constant."""
        return Suggestion(cls(others=0.0) if context.num_classes == 2 else cls())

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """The term of the classes beside the target, where there is one."""
        others = "beside the target there is one class alone, with a probability of 1: set others=0"
        return {"nkd_others": others} if num_classes == 2 else {}

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "nkd_target" and "nkd_others"."""
        return {"nkd_target": self.target, "nkd_others": self.others}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The terms "nkd_target" and "nkd_others" of ``normalized_kd``, each a scalar."""
        flat = flatten_logits(student.logits, [teachers[0].logits], target)
        of_target, of_others = normalized_kd(flat.student, flat.teachers[0], flat.target, self.temperature)
        return {"nkd_target": of_target, "nkd_others": of_others}
