"""TGD with learned weights of its teachers: those that would make the teachers together the best classifier.

This is beyond the paper of TGD. A weight that was trained on the distillation loss itself would choose the teacher that
is easiest to imitate, be it ever so wrong. Here weights learn from the labels alone: the mixture of the teachers'
probabilities shall give much to the true class, a stacking of frozen experts (linear opinion pool). The student's terms
use the weights as they are and pass them no gradient.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.losses.base import LossModule, MethodContext
from persistill.losses.functional import flatten_logits, full_precision
from persistill.losses.tgd.weighted_tgd import WeighedTeachers
from persistill.structures import Batch, ModelOutput


def mixture_cross_entropy(logits: Sequence[Tensor], target: Tensor, log_weights: Tensor) -> Tensor:
    """Cross-entropy of a mixture of classifiers: the mean of -log sum_t w_t p_t(true class).

    Args:
        logits: (B, K) of each classifier.
        target: (B,) true classes.
        log_weights: (T, B), logarithms of weights that sum to 1 in each column.

    Returns:
        A scalar, 0 or more.
    """
    known = torch.stack([-F.cross_entropy(full_precision(each), target, reduction="none") for each in logits])
    return -torch.logsumexp(log_weights + known, 0).mean()


class LearnedTGD(WeighedTeachers):
    """TGD with teachers weighted by a rule that is learned along. Terms "kd", "sp", "mix" and "anchor".

    The weights of an image are softmax_t(log alpha_t + d_t + s c_t), with c_t how sure teacher t is of whatever it
    says (1 less its entropy over log K), and T + 1 learned numbers d_t and s that begin at 0, so that the weights begin
    as alphas. They learn from "mix" and "anchor" alone, and the student from "kd" and "sp" alone.

    Attributes:
        mix: weight of the term "mix", the cross-entropy of the mixture of teachers by these weights.
        anchor: weight of the term "anchor", KL(alphas || weights), which keeps every teacher in the mixture.
    """

    mix: Annotated[float, Field(ge=0)] = 1.0
    anchor: Annotated[float, Field(ge=0)] = 0.1

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "kd", "sp", "mix" and "anchor"."""
        return {"kd": self.kd, "sp": self.similarity, "mix": self.mix, "anchor": self.anchor}

    def build(self, context: MethodContext) -> LossModule:
        """The rule, and the terms.

        Raises:
            UserError: if there are more or fewer teachers than alphas.
        """
        self.check_teachers(context.teachers)
        return _Terms(self)


class Trust(nn.Module):
    """The rule by which teachers are weighted.

    Args:
        alphas: what it begins with, above 0.
    """

    prior: Tensor

    def __init__(self, alphas: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("prior", torch.tensor(alphas).unsqueeze(1))
        self.deviations = nn.Parameter(torch.zeros(len(alphas), 1))
        self.slope = nn.Parameter(torch.zeros(()))

    def forward(self, logits: Sequence[Tensor]) -> Tensor:
        """Logarithms (T, B) of the weights of teachers with these logits, (B, K) each."""
        spoken = torch.stack([F.log_softmax(full_precision(each), dim=1) for each in logits])
        sureness = 1 + (spoken.exp() * spoken).sum(2) / math.log(spoken.shape[2])
        return F.log_softmax(self.prior.log() + self.deviations + self.slope * sureness, dim=0)


class _Terms(LossModule):
    def __init__(self, loss: LearnedTGD) -> None:
        super().__init__(loss)
        self._settings = loss
        self.trust = Trust(loss.alphas)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        self._settings.check_teachers(teachers)
        flat = flatten_logits(student.logits, [teacher.logits for teacher in teachers], batch.target)
        log_weights: Tensor = self.trust(flat.teachers)
        prior = self.trust.prior
        return {
            **self._settings.merged_terms(student, teachers, flat, log_weights.detach().exp()),
            "mix": mixture_cross_entropy(flat.teachers, flat.target, log_weights),
            "anchor": (prior * (prior.log() - log_weights)).sum(0).mean(),
        }
