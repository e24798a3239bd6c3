"""SRRL: softmax regression representation learning (Yang, Martinez, Bulat and Tzimiropoulos 2021, ICLR)."""

import copy
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import ConvNorm, apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import check_batches, full_precision
from persistill.structures import Batch, ModelOutput


def softmax_regression(
    student: Tensor, teacher: Tensor, teacher_logits: Tensor, classifier: nn.Module
) -> tuple[Tensor, Tensor]:
    """How far embeddings are from the teacher's, by themselves and as the teacher's own classifier sees them.

    Args:
        student: (B, D), brought to the teacher's width.
        teacher: (B, D).
        teacher_logits: (B, K).
        classifier: the teacher's, from (B, D) to (B, K), frozen.

    Returns:
        Two scalars, 0 or more: the mean squared differences of embeddings, and of the classifier's logits of the
        student's embedding from the teacher's.

    Raises:
        UserError: if the shapes of the embeddings, or of the logits, differ.
    """
    if student.shape != teacher.shape:
        raise UserError(
            f"embeddings are compared number by number; the student's have the shape {tuple(student.shape)}, the "
            f"teacher's {tuple(teacher.shape)}. Bring the student's to the teacher's width first, as SRRL does."
        )
    logits = apply(classifier, student)
    if logits.shape != teacher_logits.shape:
        raise UserError(
            f"the teacher's classifier makes logits of the shape {tuple(logits.shape)} and those of the teacher have "
            f"{tuple(teacher_logits.shape)}; give the classifier of that teacher, and its logits."
        )
    return (
        F.mse_loss(full_precision(student), full_precision(teacher)),
        F.mse_loss(logits, full_precision(teacher_logits)),
    )


class SRRL(DistillationLoss):
    """Embeddings that mean the same to the first teacher's classifier. Terms "srrl_features" and "srrl_logits".

    Attributes:
        features: weight of "srrl_features", the difference of embeddings; 1 in the authors' code.
        logits: weight of "srrl_logits", that of the teacher's classifier's logits; 1 likewise.
    """

    required_outputs = frozenset({"logits", "embedding"})
    requires_classifier = True

    features: Annotated[float, Field(ge=0)] = 1.0
    logits: Annotated[float, Field(ge=0)] = 1.0

    @property
    def weights(self) -> Mapping[str, float]:
        """The weights of "srrl_features" and "srrl_logits"."""
        return {"srrl_features": self.features, "srrl_logits": self.logits}

    def build(self, context: MethodContext) -> LossModule:
        """The connector, a linear layer with batch normalization and ReLU, and a copy of the teacher's classifier.

        Raises:
            UserError: if the teacher has no classifier.
        """
        return _Connector(self, context)


class _Connector(LossModule):
    def __init__(self, loss: SRRL, context: MethodContext) -> None:
        super().__init__(loss)
        self.connector = ConvNorm(context.student.embedding.shape[1], context.teachers[0].embedding.shape[1])
        self.classifier = copy.deepcopy(context.classifier("SRRL")).requires_grad_(requires_grad=False)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        check_batches(student.embedding, teachers[0].embedding, "embeddings")
        connected = self.connector(student.embedding[:, :, None, None]).relu().flatten(1)
        features, logits = softmax_regression(connected, teachers[0].embedding, teachers[0].logits, self.classifier)
        return {"srrl_features": features, "srrl_logits": logits}
