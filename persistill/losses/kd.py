"""KD: knowledge distillation (Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network").

The function is ``persistill.losses.kl``.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from persistill.losses.functional import Reduction, full_precision, kl, standardize_logits
from persistill.settings import Settings
from persistill.structures import ModelOutput, OutputField


class KD(Settings):
    """The student's softened class probabilities follow those of its first teacher. One term, "kd".

    Attributes:
        weight: of the term; 0.9, beside cross-entropy 0.1, is usual (RepDistiller).
        temperature: divides the logits of both.
        kl_reduction: "batchmean", or "mean", which divides by the number of classes too (see ``losses.kl``).
        standardize: compare the z-scores of the logits instead of the logits (see ``losses.standardize_logits``).
    """

    weight: Annotated[float, Field(ge=0)] = 0.9
    temperature: Annotated[float, Field(gt=0)] = 4.0
    kl_reduction: Reduction = "batchmean"
    standardize: bool = False

    @property
    def teachers_needed(self) -> int:
        """One."""
        return 1

    @property
    def reads(self) -> frozenset[OutputField]:
        """What the terms read of a teacher."""
        return frozenset({"logits"})

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of "kd"."""
        return {"kd": self.weight}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The term "kd": temperature squared times KL(teacher || student), a scalar."""
        seen = standardize_logits if self.standardize else full_precision
        return {"kd": kl(seen(teachers[0].logits), seen(student.logits), self.temperature, self.kl_reduction)}
