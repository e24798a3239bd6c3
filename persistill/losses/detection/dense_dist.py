"""DIST on the classes of dense heads (after Huang et al. 2022, NeurIPS, "Knowledge Distillation from A Stronger
Teacher").
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from persistill.losses.base import DistillationLoss
from persistill.losses.detection.dense_kd import match_heads, score_places
from persistill.losses.dist import correlation_distance
from persistill.losses.functional import full_precision
from persistill.models.detection.output import DenseLevel
from persistill.structures import ModelOutput


def dense_relations(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """One minus the correlation of class scores: of a place over the classes, and of a class over the places.

    Args:
        student: (P, K) class scores in [0, 1].
        teacher: (P, K).

    Returns:
        Two scalars, 0 to 2; 0 where there are fewer than two places, of which nothing can be told.
    """
    if len(student) < 2:
        nothing = 0.0 * student.sum()
        return nothing, nothing
    return correlation_distance(student, teacher), correlation_distance(student.T, teacher.T)


class DenseDIST(DistillationLoss):
    """Class scores that correlate with the first teacher's. Terms "dense_inter" and "dense_intra".

    DIST takes the probabilities of one image each; here it is the scores of a place and anchor, those of all levels
    together, at which the teacher sees something. That choice of places is ours. With two classes or fewer,
    correlations over the classes of a place say next to nothing: set ``inter`` to 0.

    Attributes:
        inter: weight of "dense_inter", relations between the classes of a place; 1 is the authors'.
        intra: weight of "dense_intra", relations between places; 1 is the authors'.
        min_score: places to which the teacher gives a lower score are left out.
    """

    required_outputs = frozenset({"logits", "feature_maps"})

    inter: Annotated[float, Field(ge=0)] = 1.0
    intra: Annotated[float, Field(ge=0)] = 1.0
    min_score: Annotated[float, Field(ge=0, lt=1)] = 0.05

    @property
    def weights(self) -> Mapping[str, float]:
        """The two weights."""
        return {"dense_inter": self.inter, "dense_intra": self.intra}

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], target: Tensor) -> dict[str, Tensor]:
        """The two terms, scalars.

        Raises:
            UserError: if these are no dense heads of one kind.
        """
        pairs = match_heads(student, teachers[0])
        with torch.no_grad():
            kept = [score_places(theirs) >= self.min_score for _, theirs in pairs]
        chosen = [
            torch.cat([_class_scores(pair[who])[mask] for pair, mask in zip(pairs, kept, strict=True)])
            for who in (0, 1)
        ]
        return dict(zip(self.weights, dense_relations(*chosen), strict=True))


def _class_scores(level: DenseLevel) -> Tensor:
    """(B, H, W, A, K), without the background."""
    logits = full_precision(level.logits)
    return logits.softmax(-1)[..., 1:] if level.background else logits.sigmoid()
