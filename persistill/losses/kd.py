"""KD: knowledge distillation (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network").

The function is ``persistill.losses.kl``.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from persistill.losses.base import STANDARDIZED_PAIR, AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import Reduction, flatten_logits, full_precision, kl, standardize_logits
from persistill.structures import ModelOutput


class KD(DistillationLoss):
    """The student's softened class probabilities follow those of its first teacher. One term, "kd".

    Attributes:
        weight: of the term; 0.9, beside cross-entropy 0.1, is usual (RepDistiller).
        temperature: divides the logits of both.
        kl_reduction: "batchmean", or "mean", which divides by the number of classes too (see ``losses.kl``).
        standardize: compare the z-scores of the logits instead of the logits (see ``losses.standardize_logits``).
    """

    required_outputs = frozenset({"logits"})

    weight: Annotated[float, Field(ge=0)] = 0.9
    temperature: Annotated[float, Field(gt=0)] = 4.0
    kl_reduction: Reduction = "batchmean"
    standardize: bool = False

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:  # noqa: ARG003 - the same for all images
        """Twice the weight of the labels' whole cross-entropy: at equal cost the best of docs/results.md."""
        return Suggestion(cls(weight=2.0))

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """The term of standardized logits, with two classes."""
        return {"kd": STANDARDIZED_PAIR} if self.standardize and num_classes == 2 else {}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "kd": temperature squared times KL(teacher || student), a scalar."""
        flat = flatten_logits(student.logits, [teachers[0].logits], target)
        seen = standardize_logits if self.standardize else full_precision
        return {"kd": kl(seen(flat.student), seen(flat.teachers[0]), self.temperature, self.kl_reduction)}
