"""TopKD: the topology of a batch of embeddings (Kim, You, Lee, Kim and Jung 2024, ICML, PMLR 235:24674-24693).

Not the later method of the same name that distils top-scaled logits (2025, arXiv 2508.04539). After the authors'
published code; the text of the paper was not at hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from persistill.errors import UserError, unknown
from persistill.losses.adapters import apply
from persistill.losses.base import DistillationLoss, LossModule, MethodContext
from persistill.losses.functional import check_batches, full_precision
from persistill.losses.topkd.persistence_images import CloudImages, Dimension
from persistill.losses.topkd.ripsnet import (
    CHECKPOINT,
    NETWORK,
    RipsNet,
    Surrogate,
    fit_ripsnet,
    gather,
    load_ripsnet,
)
from persistill.settings import Settings
from persistill.structures import Batch, ModelOutput
from persistill.topology import mst_lengths, rips_persistence, sorted_lifetimes, wasserstein
from persistill.utils.progress import Progress

Comparison = Literal["image", "lifetimes", "wasserstein"]
_IMAGES = "images.json"
_PUBLISHED = Surrogate()


def topology_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    compare: Comparison = "image",
    dimension: Dimension = 0,
    images: CloudImages | None = None,
) -> Tensor:
    """Difference of the persistent homology of two clouds of embeddings, exact and differentiable.

    Both batches are clouds of points, and persistent homology of their Vietoris-Rips filtrations tells how these
    hang together at each scale: in dimension 0, when the components of the batch merge, which is how long the edges
    of its minimum spanning tree are. No point is compared with its partner, and widths need not agree.

    Args:
        student: (B, D).
        teacher: (B, D'), of the same batch.
        compare: "image": mean squared difference of persistence images over their 400 pixels. "lifetimes": mean
            squared difference of the lifetimes, both sorted; in H1 the shorter list is filled up with zeros.
            "wasserstein": the 1-Wasserstein distance of the diagrams (points move, or vanish in the diagonal),
            divided by B.
        dimension: of the homology, 0 or 1.
        images: settings of the persistence images, which then also say the dimension; None to fit them to this
            teacher's batch.

    Returns:
        A scalar, 0 or more; NaN if an embedding is not finite. A batch of one has no topology, and gives 0.

    Raises:
        UserError: if the batches differ, these are no vectors, or ``compare`` is unknown.
    """
    check_batches(student, teacher, "embeddings")
    if student.ndim != 2 or teacher.ndim != 2:
        raise UserError(
            f"TopKD compares embeddings (B, D); {tuple(student.shape)} and {tuple(teacher.shape)} were given."
        )
    ours, theirs = full_precision(student), full_precision(teacher)
    dimension = dimension if images is None else images.dimension
    by_trees = dimension == 0 and (compare == "lifetimes" or (compare == "image" and images is not None))
    waits = not ours.is_cuda or not by_trees  # for what works on the CPU, and refuses what is not finite
    if waits and not (ours.isfinite().all() and theirs.isfinite().all()):
        return ours.sum() * torch.nan  # a training tells which of its terms was not finite first
    if compare == "image":
        images = images or CloudImages.fit([theirs], dimension)
        return F.mse_loss(images.draw(ours), images.draw(theirs))
    if compare == "lifetimes" and dimension == 0:
        gaps = mst_lengths(ours) - mst_lengths(theirs)
        return gaps.square().sum() / max(1, len(gaps))
    diagrams = [rips_persistence(cloud[None], dimension=dimension) for cloud in (ours, theirs)]
    if compare == "lifetimes":
        count = max(1, *(len(each.values) for each in diagrams))
        one, other = (sorted_lifetimes(each, count) for each in diagrams)
        return F.mse_loss(one, other)
    if compare == "wasserstein":
        return wasserstein(*diagrams).squeeze(0) / len(ours)
    raise unknown("comparison", compare, ("image", "lifetimes", "wasserstein"))


class TopKD(DistillationLoss):
    """The batch's embeddings have the homology of the first teacher's (Kim et al. 2024). One term, "topkd".

    Not the method of the same name that distils top-scaled logits. The paper adds KD, a method of its own here:
    ``KD(weight=2.0, temperature=4.0)`` for networks of one family, ``weight=4.0`` for others.

    Attributes:
        weight: of the term; 5 in the paper.
        compare: "image", "lifetimes" or "wasserstein", see ``topology_loss``.
        dimension: of the homology, 0 or 1.
        surrogate: None for the exact form; a ``Surrogate`` for the published one, where a network that was fitted to
            the teacher's embeddings guesses the images of both, and a linear layer that learns along brings the
            student's embeddings to the teacher's width, where they differ.
    """

    required_outputs = frozenset({"embedding"})

    weight: Annotated[float, Field(ge=0)] = 5.0
    compare: Comparison = "image"
    dimension: Dimension = 0
    surrogate: Surrogate | None = None

    @model_validator(mode="after")
    def _surrogates_guess_images(self) -> Self:
        if self.surrogate is not None and self.compare != "image":
            raise ValueError(f"a surrogate guesses persistence images; compare={self.compare!r} needs surrogate=None.")
        return self

    @classmethod
    def published(cls, surrogate: Surrogate = _PUBLISHED) -> Self:
        """The published form, with the paper's weight and H0.

        Args:
            surrogate: how the network is fitted; by default as in the paper, which takes hours without a GPU.
        """
        return cls(weight=5.0, compare="image", dimension=0, surrogate=surrogate)

    @property
    def preparation(self) -> "TopKDPreparation | None":
        """Where images are compared, they are fitted to the teacher's embeddings first, and a surrogate to them."""
        if self.compare != "image":
            return None
        return TopKDPreparation(dimension=self.dimension, surrogate=self.surrogate)

    def build(self, context: MethodContext) -> LossModule:
        """What computes the term. Without a preparation, images are fitted anew to each of the teacher's batches."""
        folder = context.prepared
        if self.surrogate is None:
            return _Exact(self, CloudImages.load(folder / _IMAGES) if folder else None)
        widths = context.student.embedding.shape[1], context.teachers[0].embedding.shape[1]
        if folder is None:
            return _Approximate(self, RipsNet(widths[1], self.surrogate.pooling), *widths)
        network, about = load_ripsnet(folder / NETWORK)
        return _Approximate(self, network, *widths, about["points"] if self.surrogate.pooling == "sum" else None)


class _Exact(LossModule):
    """Persistent homology itself."""

    def __init__(self, loss: TopKD, images: CloudImages | None) -> None:
        super().__init__(loss)
        self._method, self._images = loss, images

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        method, clouds = self._method, (student.embedding, teachers[0].embedding)
        value = topology_loss(*clouds, compare=method.compare, dimension=method.dimension, images=self._images)
        return {"topkd": value}


class _Approximate(LossModule):
    """What a frozen network takes for the persistence images of both; ``points``: in every batch, None for any."""

    def __init__(
        self, loss: TopKD, network: RipsNet, width: int, teacher_width: int, points: int | None = None
    ) -> None:
        super().__init__(loss)
        self.network = network.requires_grad_(requires_grad=False)
        self.adapter = nn.Linear(width, teacher_width) if width != teacher_width else None
        self._points = points

    def terms(self, student: ModelOutput, teachers: Sequence[ModelOutput], batch: Batch) -> dict[str, Tensor]:
        ours, theirs = student.embedding, teachers[0].embedding
        check_batches(ours, theirs, "embeddings")
        if self._points not in (None, len(ours)):
            raise UserError(
                f"the RipsNet sums over points and was fitted to batches of {self._points}; this one holds "
                f'{len(ours)}. Leave smaller batches out (drop_last), or use pooling="mean".'
            )
        if self.adapter is not None:
            ours = apply(self.adapter, ours)
        return {"topkd": F.mse_loss(apply(self.network, ours), apply(self.network, theirs))}


class TopKDPreparation(Settings):
    """What TopKD does once, before any student, with the embeddings of the first teacher in evaluation mode.

    Attributes:
        dimension: of the homology, 0 or 1.
        surrogate: how a RipsNet is fitted; None for none.
    """

    dimension: Dimension = 0
    surrogate: Surrogate | None = None

    def prepare(
        self, teacher_batches: Callable[[int], Iterator[Sequence[ModelOutput]]], folder: Path, progress: Progress
    ) -> dict[str, Any]:
        """Fit persistence images to the clouds of one epoch, or to those of a surrogate and then a RipsNet to these.

        Args:
            teacher_batches: epoch number -> what the teachers say of each batch.
            folder: where "images.json" and "ripsnet.safetensors" are written. Stored clouds are removed at the end.
            progress: told of every epoch.

        Returns:
            The settings of the images and, of a RipsNet, what ``fit_ripsnet`` returns.

        Raises:
            UserError: if the clouds cannot be stored, or there is but one.
        """
        if self.surrogate is None:
            progress.start("clouds of embeddings", 1)
            images = CloudImages.fit((taught[0].embedding.float() for taught in teacher_batches(0)), self.dimension)
            images.save(folder / _IMAGES)
            progress.finish()
            return {"images": asdict(images)}
        if (folder / NETWORK).exists():  # interrupted while it tidied up
            images, (_, result) = CloudImages.load(folder / _IMAGES), load_ripsnet(folder / NETWORK)
        else:
            device = next(teacher_batches(0))[0].embedding.device
            clouds = gather(teacher_batches, folder, self.surrogate.cloud_epochs, progress)
            images = CloudImages.fit(clouds.epochs(), self.dimension)
            images.save(folder / _IMAGES)
            result = fit_ripsnet(clouds, images, self.surrogate, folder, progress, device)
        for file in [*folder.glob("clouds-*.npy"), folder / CHECKPOINT]:
            file.unlink(missing_ok=True)
        return {"images": asdict(images), **result}
