"""CRD: contrastive representation distillation (Tian, Krishnan and Isola 2020, ICLR, arXiv 1910.10699)."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from persistill.errors import UserError
from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import check_batches, full_precision, normalize_rows
from persistill.structures import Batch, ModelOutput

_MOST_BYTES = 16 * 2**30
_BATCH = 128


def contrastive_estimation(positive: Tensor, negative: Tensor, noise: float) -> Tensor:
    """How badly true pairs are told from pairs of different images: the negative of the paper's critic objective.

    A pair of probability p counts as true with probability h = p / (p + noise). The value is the mean over the batch of
    -log h for the true pair less the sum of log(1 - h) over the others.

    Args:
        positive: (B,), log p of each image's true pair.
        negative: (B, K), log p of its other pairs.
        noise: K times the probability of an image under noise, K / N for N images; above 0.

    Returns:
        A scalar, above 0. It tends to 0 as true pairs get more probable and others less.
    """
    threshold = math.log(noise)
    told = F.logsigmoid(full_precision(positive) - threshold)
    others = F.logsigmoid(threshold - full_precision(negative)).sum(1)
    return -(told + others).mean()


class CRD(DistillationLoss):
    """Embeddings by which an image is told from those of other classes, across both networks. One term, "crd".

    Attributes:
        weight: of the term; 0.8 is the authors'.
        negatives: images of other classes that each image is compared with, drawn anew at each step.
        dim: width of the two linear layers, and of what is remembered of each training image.
        temperature: divides the cosines.
        momentum: share of the old in what is remembered of an image, when it is seen again.
    """

    required_outputs = frozenset({"embedding"})

    weight: Annotated[float, Field(ge=0)] = 0.8
    negatives: Annotated[int, Field(ge=1)] = 16384
    dim: Annotated[int, Field(ge=1)] = 128
    temperature: Annotated[float, Field(gt=0)] = 0.07
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def build(self, context: MethodContext) -> LossModule:
        """Two linear layers, and the memory of all training images.

        Raises:
            UserError: if all images are of one class, or the memory would not fit into any machine.
        """
        if context.targets.ndim != 1:
            raise UserError(
                "CRD sets each image against images of other classes, and every position has a class of its own here. "
                "Use a method without memory: CWD, KD or SP."
            )
        if len(context.targets) and context.targets.min() == context.targets.max():
            raise UserError("CRD sets each image against images of other classes, and all training images are of one.")
        self._check_memory(len(context.targets))
        return _Memory(self, context)

    def _check_memory(self, images: int) -> None:
        """Two memories, their copies while they change, and the scores of a batch, with gradients and drawn numbers."""
        needed = 4 * (4 * images * self.dim + _BATCH * (4 * images + 8 * self.negatives))
        if needed > _MOST_BYTES:
            raise UserError(
                f"CRD would need about {needed / 2**30:.0f} GiB: it remembers {self.dim} numbers (dim) of each of "
                f"{images:,} training images for both networks, and compares each image of a batch (here: "
                f"{_BATCH}) with all of them and with {self.negatives:,} drawn ones (negatives). Lower dim, negatives "
                "or data.train, or take a method without memory: RKD, PKT or CC."
            )


class _Memory(LossModule):
    memory_student: Tensor
    memory_teacher: Tensor
    log_z: Tensor
    targets: Tensor
    by_class: Tensor
    counts: Tensor
    starts: Tensor

    def __init__(self, loss: CRD, context: MethodContext) -> None:
        super().__init__(loss)
        self._settings = loss
        targets, dim = context.targets, loss.dim
        self.student = nn.Linear(context.student.embedding.shape[1], dim)
        self.teacher = nn.Linear(context.teachers[0].embedding.shape[1], dim)
        # Numbers of variance 1 / dim, so that rows have about unit norm.
        edge = math.sqrt(3 / dim)
        for name in ("memory_student", "memory_teacher"):
            self.register_buffer(name, torch.empty(len(targets), dim).uniform_(-edge, edge))
        self.register_buffer("log_z", torch.full((2,), math.nan))
        counts = torch.bincount(targets)
        for name, value in (
            ("targets", targets),
            ("by_class", targets.argsort(stable=True)),
            ("counts", counts),
            ("starts", counts.cumsum(0) - counts),
        ):
            self.register_buffer(name, value, persistent=False)

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        check_batches(student.embedding, teachers[0].embedding, "embeddings")
        own = normalize_rows(apply(self.student, student.embedding))
        taught = normalize_rows(apply(self.teacher, teachers[0].embedding))
        pairs = torch.cat([batch.index[:, None], self.draw(batch.index)], dim=1)
        scores = self._scores(own, self.memory_teacher, pairs), self._scores(taught, self.memory_student, pairs)
        self._set_normalization(scores)
        noise = self._settings.negatives / len(self.targets)
        terms = [
            contrastive_estimation(found[:, 0] - log_z, found[:, 1:] - log_z, noise)
            for found, log_z in zip(scores, self.log_z, strict=True)
        ]
        if self.training:
            self.memory_student = self._changed(self.memory_student, own, batch.index)
            self.memory_teacher = self._changed(self.memory_teacher, taught, batch.index)
        return {"crd": torch.stack(terms).sum()}

    def draw(self, index: Tensor) -> Tensor:
        """Images of other classes: (B,) positions to (B, negatives), each drawn independently, with replacement."""
        classes = self.targets[index]
        count, start = self.counts[classes][:, None], self.starts[classes][:, None]
        shape = len(index), self._settings.negatives
        # In the order by class, a class is one row of places, and drawn places from its first on step over it.
        place = torch.randint(2**62, shape, device=index.device) % (len(self.targets) - count)
        return self.by_class[place + torch.where(place >= start, count, 0)]

    def _scores(self, embedding: Tensor, memory: Tensor, pairs: Tensor) -> Tensor:
        """(B, dim) and (B, 1 + negatives) positions in the memory to logarithms of scores, before normalization."""
        with torch.autocast(embedding.device.type, enabled=False):
            # All products, then those of the pairs: gathering the pairs' rows first takes dim times their memory.
            return (embedding @ memory.T / self._settings.temperature).gather(1, pairs)

    def _set_normalization(self, scores: Sequence[Tensor]) -> None:
        """Take the number of images times the mean score of the first batch for the constants, for good."""
        with torch.no_grad():
            means = torch.stack([found.flatten().logsumexp(0) - math.log(found.numel()) for found in scores])
            self.log_z = torch.where(self.log_z.isnan(), means + math.log(len(self.targets)), self.log_z)

    def _changed(self, memory: Tensor, seen: Tensor, index: Tensor) -> Tensor:
        """The memory with what was seen mixed in. A copy: the gradient still needs the old one."""
        momentum = self._settings.momentum
        mixed = momentum * memory[index] + (1 - momentum) * seen.detach()
        return memory.index_copy(0, index, normalize_rows(mixed))
