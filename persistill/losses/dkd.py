"""DKD: decoupled knowledge distillation (Zhao, Cui, Song, Qiu and Liang 2022, CVPR, arXiv 2203.08679)."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.base import (
    STANDARDIZED_PAIR,
    AutoconfigContext,
    DistillationLoss,
    Suggestion,
    linear_warmup,
)
from persistill.losses.functional import check_logits, flatten_logits, full_precision, kl, standardize_logits
from persistill.structures import ModelOutput


def decoupled_kl(
    student_logits: Tensor, teacher_logits: Tensor, target: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The two divergences that make up KD's: target class against the rest, and among the rest.

    For one image, with p the teacher's probability of its target at this temperature,
    KL(teacher || student) = first + (1 - p) second. The factor silences the second where the teacher is sure.

    Args:
        student_logits: (B, K), K at least 2.
        teacher_logits: (B, K).
        target: (B,) class numbers.
        temperature: divides the logits, above 0.

    Returns:
        Two scalars, each temperature squared times the mean over the batch, 0 or more: KL of the probabilities
        (target, not target), "TCKD" in the paper, and KL of the probabilities of the other classes among themselves,
        "NCKD".

    Raises:
        UserError: if the shapes differ, there is one class alone, or the temperature is not above 0.
    """
    check_logits(student_logits, teacher_logits, temperature)
    classes = teacher_logits.shape[1]
    if classes < 2:
        raise UserError("DKD sets the target class against the others, and the logits hold 1 class. Use KD.")
    others = torch.arange(classes - 1, device=target.device).expand(len(target), -1)
    others = others + (others >= target[:, None]).long()
    split = [
        (logits.gather(1, target[:, None]), logits.gather(1, others))
        for logits in (full_precision(student_logits), full_precision(teacher_logits))
    ]
    # The softmax of these two logits is (p, 1 - p), without taking a logarithm of a probability that underflowed.
    binary = [torch.cat([of_target, _joint(of_others, temperature)], dim=1) for of_target, of_others in split]
    return kl(binary[0], binary[1], temperature), kl(split[0][1], split[1][1], temperature)


def _joint(logits: Tensor, temperature: float) -> Tensor:
    """The logit of "one of these classes" at a temperature: (B, K) to (B, 1)."""
    return temperature * torch.logsumexp(logits / temperature, dim=1, keepdim=True)


class DKD(DistillationLoss):
    """KD whose two parts have weights of their own. Terms "tckd" and "nckd".

    Attributes:
        alpha: weight of "tckd", the target class against the rest; 1 is usual (mdistiller).
        beta: weight of "nckd", the other classes among themselves; 8 is mdistiller's default, 0.5 to 8 by pair there.
        temperature: divides the logits of both.
        standardize: compare the z-scores of the logits instead of the logits (see ``losses.standardize_logits``).
        warmup_epochs: over which both weights rise linearly, the first epoch with one share; mdistiller takes 20 on
            CIFAR-100 and 1 on ImageNet. 0 for none.
    """

    required_outputs = frozenset({"logits"})

    alpha: Annotated[float, Field(ge=0)] = 1.0
    beta: Annotated[float, Field(ge=0)] = 8.0
    temperature: Annotated[float, Field(gt=0)] = 4.0
    standardize: bool = False
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0

    @classmethod
    def published(cls) -> Self:
        """The settings of mdistiller for CIFAR-100 where it has no others for a pair of networks."""
        return cls(alpha=1.0, beta=8.0, temperature=4.0, warmup_epochs=20.0)

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The defaults; of two classes, without the term that is constant."""
        return Suggestion(cls(beta=0.0) if context.num_classes == 2 else cls())

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """The term of the classes beside the target, where there is one; and the other, if logits are standardized."""
        if num_classes != 2:
            return {}
        others = "beside the target there is one class alone, with a probability of 1: set beta=0"
        return {"nckd": others, **({"tckd": STANDARDIZED_PAIR} if self.standardize else {})}

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "tckd" and "nckd"."""
        return {"tckd": self.alpha, "nckd": self.beta}

    def schedule(self, step: int, epoch: int) -> float:
        """The share of the warm-up, of which mdistiller counts the first epoch as 1."""
        return linear_warmup(epoch + 1, self.warmup_epochs)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The terms "tckd" and "nckd" of ``decoupled_kl``, each a scalar."""
        seen = standardize_logits if self.standardize else full_precision
        flat = flatten_logits(student.logits, [teachers[0].logits], target)
        logits = seen(flat.student), seen(flat.teachers[0])
        of_target, of_others = decoupled_kl(*logits, flat.target, self.temperature)
        return {"tckd": of_target, "nckd": of_others}
