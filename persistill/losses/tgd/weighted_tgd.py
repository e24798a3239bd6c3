"""TGD with weights of its teachers for each image, by how well each teacher knows it.

The merge is TGD's (see ``tgd``); the weights are those of CA-MKD: Zhang, Chen and Wang 2022, "Confidence-Aware
Multi-Teacher Knowledge Distillation", arXiv 2201.00007. Beyond both papers: their union, and what per-image weights
mean for similarity maps.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from persistill.errors import UserError
from persistill.losses.functional import (
    FlatLogits,
    divergences,
    flatten_logits,
    full_precision,
    similarity,
    standardize_logits,
)
from persistill.losses.tgd.tgd import MergedTeachers, merged_similarity, shared_stages
from persistill.structures import ModelOutput


def confidence_weights(
    logits: Sequence[Tensor], target: Tensor, alphas: Sequence[float], temperature: float = 1.0
) -> Tensor:
    """Weights of teachers for each image: the lower a teacher's cross-entropy, the higher its weight.

    With L_t the cross-entropy of teacher t on an image, (1 - softmax_t(L)) / (T - 1), as in CA-MKD, times alpha_t and
    scaled to sum 1 again. For two teachers that is alpha_t times the probability that each gives to the true class, at
    the temperature; of three or more none gets above 1 / (T - 1) before the alphas come in.

    Args:
        logits: (B, K) of each teacher.
        target: (B,) true classes.
        alphas: one weight a teacher, above 0; what the weights are where all teachers are equally sure.
        temperature: divides the logits, above 0; 1 in CA-MKD.

    Returns:
        (T, B), columns that sum to 1, without gradient.

    Raises:
        UserError: if logits and classes are not of one batch, or there is not one alpha a teacher.
    """
    shapes = [tuple(each.shape) for each in logits]
    if len(logits) != len(alphas) or any(len(shape) != 2 or shape[0] != len(target) for shape in shapes):
        raise UserError(
            f"weights by confidence need logits (B, K) and an alpha of each teacher, of the images that the "
            f"{len(target)} classes belong to; logits of {shapes} and alphas {tuple(alphas)} were given."
        )
    with torch.no_grad():
        prior = torch.tensor(alphas, device=target.device).unsqueeze(1).expand(-1, len(target))
        if len(logits) == 1:
            return prior / prior.sum(0)
        unsure = torch.stack(
            [F.cross_entropy(full_precision(z) / temperature, target, reduction="none") for z in logits]
        )
        weights = prior * (1 - unsure.softmax(0))  # CA-MKD's 1 / (T - 1) cancels in the sum
        return weights / weights.sum(0)


class WeighedTeachers(MergedTeachers):
    """Settings and terms that methods have in common which weigh TGD's teachers image by image.

    Attributes:
        alphas: one weight a teacher, above 0, in the order of the arm's teachers; they sum to 1.
    """

    alphas: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.5, 0.5)

    def merged_terms(
        self, student: ModelOutput, teachers: Sequence[ModelOutput], flat: FlatLogits, weights: Tensor
    ) -> dict[str, Tensor]:
        """The terms "kd" and "sp" of TGD, with weights for each image; where they are the same for all, TGD's own.

        Row i of a merged similarity map tells whom image i resembles, and is mixed by the weights of image i, or by
        their mean over its positions in dense tasks.

        Args:
            student: features with gradient.
            teachers: features of the same images.
            flat: their logits.
            weights: (T, N), of each row there.

        Raises:
            UserError: if stages cannot be paired.
        """
        seen = standardize_logits if self.standardize else full_precision
        apart = torch.stack([divergences(seen(flat.student), seen(t), self.temperature) for t in flat.teachers])
        divergence = self.temperature**2 * (weights * apart).sum(0).mean()
        if self.kl_reduction == "mean":
            divergence = divergence / student.logits.shape[1]
        rows = list(flat.mean_by_image(weights).unsqueeze(2))
        differences = [
            F.mse_loss(similarity(of_student), merged_similarity(of_teachers, rows, self.merge))
            for of_student, of_teachers in shared_stages(student, teachers)
        ]
        return {"kd": divergence, "sp": torch.stack(differences).mean()}


class WeightedTGD(WeighedTeachers):
    """TGD with teachers weighted by their confidence in the true class, image by image. Terms "kd" and "sp".

    Attributes:
        confidence_temperature: of the logits from which the weights are computed, see ``confidence_weights``. Teachers
            that know the training images by heart are sure of all of them; above 1, differences show again.
    """

    confidence_temperature: Annotated[float, Field(gt=0)] = 1.0

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
        flat = flatten_logits(student.logits, [teacher.logits for teacher in teachers], target)
        weights = confidence_weights(flat.teachers, flat.target, self.alphas, self.confidence_temperature)
        return self.merged_terms(student, teachers, flat, weights)
