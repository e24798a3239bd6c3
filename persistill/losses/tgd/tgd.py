"""TGD: topological guidance-based distillation (Jeon, Khurana, Pathak and Turaga 2024, arXiv 2407.05316).

Several teachers with several views of an image: in the paper one sees the image, the other its persistence image.
Their logits and their similarity maps are merged by weights; the student sees the image alone.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from persistill.errors import UserError, unknown
from persistill.losses.base import STANDARDIZED_PAIR, AutoconfigContext, DistillationLoss, Suggestion
from persistill.losses.functional import (
    Reduction,
    flatten_logits,
    full_precision,
    gram,
    kl,
    match_maps,
    normalize_rows,
    similarity,
    standardize_logits,
)
from persistill.structures import ModelOutput
from persistill.utils.units import counted

Merge = Literal["published", "normalized"]


def merged_similarity(
    teachers: Sequence[Tensor], alphas: Sequence[float | Tensor], merge: Merge = "published"
) -> Tensor:
    """One similarity matrix out of several teachers' maps.

    Args:
        teachers: one map a teacher, (B, ...), of the same batch; all other sizes may differ.
        alphas: one weight a teacher: a number, or (B, 1), one for each row.
        merge: "published": Gram matrices are mixed, then rows are scaled to unit norm, so that teachers with large
            features or many positions weigh more than their alpha says. "normalized": each teacher's rows are scaled
            to unit norm, mixed, and scaled again, so that alphas alone decide.

    Returns:
        (B, B), rows of unit L2 norm.

    Raises:
        UserError: if teachers and alphas differ in number, or the merge is unknown.
    """
    if len(teachers) != len(alphas):
        raise UserError(
            f"{len(alphas)} alphas {tuple(alphas)} were given for {counted(len(teachers), 'teacher')}; give one each."
        )
    if merge not in ("published", "normalized"):
        raise unknown("merge", merge, ("published", "normalized"))
    matrix = gram if merge == "published" else similarity
    return normalize_rows(
        torch.stack([alpha * matrix(teacher) for alpha, teacher in zip(alphas, teachers, strict=True)]).sum(0)
    )


def shared_stages(student: ModelOutput, teachers: Sequence[ModelOutput]) -> list[tuple[Tensor, list[Tensor]]]:
    """The stages that a student and all teachers have, paired from the last: its map, and one of each teacher.

    Raises:
        UserError: if there is nothing to pair, or the batches differ.
    """
    pairs = [match_maps(student.feature_maps, teacher.feature_maps) for teacher in teachers]
    count = min(len(of_teacher) for of_teacher in pairs)
    stages = zip(*(of_teacher[-count:] for of_teacher in pairs), strict=True)
    return [(stage[0][0], [teacher for _, teacher in stage]) for stage in stages]


class MergedTeachers(DistillationLoss):
    """What TGD and its relatives have in common: settings, and that every teacher has its weight.

    Attributes:
        kd: weight of the term "kd", the merged KL divergences.
        similarity: weight of the term "sp", the mean over stages of the squared differences of similarity maps.
        alphas: one weight a teacher, in the order of the arm's teachers; they sum to 1. A method with two of them
            needs two teachers.
        temperature: divides all logits.
        kl_reduction: "batchmean", or "mean", which divides by the number of classes too, as the authors' code does.
        merge: "published" or "normalized", see ``merged_similarity``.
        standardize: compare the z-scores of all logits instead of the logits (see ``losses.standardize_logits``).
    """

    required_outputs = frozenset({"logits", "feature_maps"})

    kd: Annotated[float, Field(ge=0)] = 0.9
    similarity: Annotated[float, Field(ge=0)] = 3000.0
    alphas: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (0.99, 0.01)
    temperature: Annotated[float, Field(gt=0)] = 4.0
    kl_reduction: Reduction = "batchmean"
    merge: Merge = "published"
    standardize: bool = False

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """The published weights, that of maps lowered with batches below 128: that term grows as one over the batch.

        Maps are merged normalized. The student starts from the one trained without a teacher, as published.
        """
        settings = cls(similarity=context.per_pair(3000.0, 128), merge="normalized")
        return Suggestion(settings, cross_entropy=0.1, after_baseline=True)

    @field_validator("alphas")
    @classmethod
    def _sum_to_one(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if abs(sum(alphas) - 1) > 1e-6:
            raise ValueError(f"alphas must sum to 1; {alphas} sum to {sum(alphas):g}. Give all of them together.")
        return alphas

    def constant_terms(self, num_classes: int) -> Mapping[str, str]:
        """The divergence of standardized logits, with two classes."""
        return {"kd": STANDARDIZED_PAIR} if self.standardize and num_classes == 2 else {}

    @property
    def num_teachers(self) -> int:  # type: ignore[override]
        """As many as there are alphas."""
        return len(self.alphas)

    def check_teachers(self, teachers: Sequence[ModelOutput]) -> None:
        """See that there are as many teachers as alphas.

        Raises:
            UserError: if there are not.
        """
        if len(teachers) != len(self.alphas):
            raise UserError(
                f"{type(self).__name__} has {len(self.alphas)} alphas {self.alphas}, one for each teacher; given: "
                f"{counted(len(teachers), 'teacher')}. Name as many teachers in the arm as there are alphas."
            )


class TGD(MergedTeachers):
    """Teachers' logits and similarity maps, merged by weights. Terms "kd" and "sp".

    ``TGD.published()`` is the authors' code; beside it, their arm has ``cross_entropy=0.1`` and starts from the
    student trained alone.
    The settings are explained at ``MergedTeachers``, where they stand.
    """

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:
        """As its relatives, with alphas of 0.9 and 0.1.

        With normalized maps these did better than the published ones on CIFAR-10 (docs/results.md).
        """
        suggestion = super().autoconfig(context)
        return suggestion._replace(loss=suggestion.loss.model_copy(update={"alphas": (0.9, 0.1)}))

    @classmethod
    def published(cls) -> Self:
        """The settings of the authors' code, whatever the defaults are."""
        return cls(
            kd=0.9,
            similarity=3000.0,
            alphas=(0.99, 0.01),
            temperature=4.0,
            kl_reduction="mean",
            merge="published",
            standardize=False,
        )

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "kd" and "sp"."""
        return {"kd": self.kd, "sp": self.similarity}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The terms "kd" and "sp", each a scalar.

        Stages are paired from the last; those without a partner in every teacher are left out.

        Raises:
            UserError: if there are more or fewer teachers than alphas, or stages cannot be paired.
        """
        self.check_teachers(teachers)
        seen = standardize_logits if self.standardize else full_precision
        flat = flatten_logits(student.logits, [teacher.logits for teacher in teachers], target)
        divergences = [
            alpha * kl(seen(flat.student), seen(logits), self.temperature, self.kl_reduction)
            for alpha, logits in zip(self.alphas, flat.teachers, strict=True)
        ]
        differences = [
            F.mse_loss(similarity(of_student), merged_similarity(of_teachers, self.alphas, self.merge))
            for of_student, of_teachers in shared_stages(student, teachers)
        ]
        return {"kd": torch.stack(divergences).sum(), "sp": torch.stack(differences).mean()}
