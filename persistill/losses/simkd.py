"""SimKD: the reused teacher classifier (Chen, Mei, Zhang, Wang, Feng and Chen 2022, CVPR, arXiv 2203.14001)."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.base import AutoconfigContext, DistillationLoss, LossModule, MethodContext, Suggestion
from persistill.losses.functional import check_batches, full_precision, to_common_size
from persistill.models.base import Network
from persistill.models.projected import PROJECTED, ProjectedClassifier, Projector
from persistill.structures import Batch, ModelOutput
from persistill.utils.units import counted


def is_mean_of_last_map(output: ModelOutput) -> bool:
    """Whether an embedding is the mean of the last feature map over its positions, as in most convolutional networks.

    Not so where a map is taken before an activation or a further layer, or where tokens are pooled.
    """
    if not output.feature_maps:
        return False
    mean, embedding = list(output.feature_maps.values())[-1].float().mean((2, 3)), output.embedding.float()
    # Stored maps are rounded to half precision.
    return mean.shape == embedding.shape and torch.allclose(mean, embedding, rtol=1e-2, atol=1e-2)


class SimKD(DistillationLoss):
    """The student's last map becomes the first teacher's, whose classifier it then uses. One term, "simkd".

    A projector and the teacher's classifier, which is not trained, are put on the student and belong to it: they are
    evaluated and exported with it. In the paper nothing else is learned from: the arm has ``cross_entropy=0.0``.

    Where the teacher's embedding is not the mean of its last map - it was taken before an activation, or tokens are
    pooled - embeddings are compared in place of maps.

    Attributes:
        weight: of the term; 1 in the paper.
        reduction: by how much the projector's inner layers have fewer channels than the teacher's map; 2 in the paper's
            main tables, 4 for a smaller student.
    """

    required_outputs = frozenset({"embedding", "feature_maps"})
    requires_classifier = True

    weight: Annotated[float, Field(ge=0)] = 1.0
    reduction: Annotated[int, Field(ge=1, le=99)] = 2

    @classmethod
    def autoconfig(cls, context: AutoconfigContext) -> Suggestion:  # noqa: ARG003 - the same for all images
        """The labels have no part in it, as published."""
        return Suggestion(cls(), cross_entropy=0.0)

    def student_network(self, network: Network, context: MethodContext) -> Network:
        """The student with a projector and the teacher's classifier; itself where it has them already.

        Raises:
            UserError: if the teacher has no linear classifier, or the student no feature map.
        """
        if isinstance(network, ProjectedClassifier):
            return network
        classifier = context.classifier("SimKD")
        if not isinstance(classifier, nn.Linear) or not network.spec.feature_maps:
            raise UserError(
                "SimKD puts a projector on the student's last feature map and the teacher's linear classifier behind "
                f"it; the student has {counted(len(network.spec.feature_maps), 'feature map')}, and the teacher's "
                f"classifier is a {type(classifier).__name__}. Use other networks, or SRRL or FitNet."
            )
        made = ProjectedClassifier(network, Projector(classifier.in_features, self.reduction))
        if classifier.out_features != network.spec.num_classes:
            raise UserError(
                f"SimKD gives the student the teacher's classifier, which knows {classifier.out_features} classes, and "
                f"the student {network.spec.num_classes}. Use a teacher of the same classes."
            )
        weight, bias = classifier.weight.detach(), classifier.bias
        with torch.no_grad():
            made.classifier.weight.copy_(weight)
            made.classifier.bias.copy_(torch.zeros(len(weight)) if bias is None else bias.detach())
        return made

    def build(self, context: MethodContext) -> LossModule:
        """The comparison of maps, or of embeddings; nothing in it is trained."""
        return _Reused(self, on_maps=is_mean_of_last_map(context.teachers[0]))


class _Reused(LossModule):
    def __init__(self, loss: SimKD, *, on_maps: bool) -> None:
        super().__init__(loss)
        self._on_maps = on_maps

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        check_batches(student.embedding, teachers[0].embedding, "embeddings")
        if PROJECTED not in student.feature_maps or student.embedding.shape != teachers[0].embedding.shape:
            raise UserError(
                "SimKD trains a student that ends in a projector and the teacher's classifier. In a loop of your own, "
                "train network = loss.student_network(student, context) in place of the student."
            )
        if not self._on_maps:
            return {"simkd": F.mse_loss(full_precision(student.embedding), full_precision(teachers[0].embedding))}
        taught = list(teachers[0].feature_maps.values())[-1]
        own, wanted = to_common_size(student.feature_maps[PROJECTED], taught)
        return {"simkd": F.mse_loss(full_precision(own), full_precision(wanted))}
