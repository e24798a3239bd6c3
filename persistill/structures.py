"""The vocabulary that all rooms share: what a network returns, and what a batch holds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor

IGNORE_INDEX = -100
"""Target of a pixel that has no class: neither losses nor metrics count it. torch's own default."""


class ModelOutput(NamedTuple):
    """What every network returns, teacher or student.

    Attributes:
        logits: (B, K), unnormalized log-probabilities of K classes; (B, K, H, W) where every pixel has a class.
        embedding: (B, D), the input of the last linear layer, averaged over positions where it has any.
        feature_maps: stage name -> (B, C, H, W), in the order in which the network computes them.
    """

    logits: Tensor
    embedding: Tensor
    feature_maps: dict[str, Tensor]

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """The same output with every tensor changed, in an order that is always the same.

        Args:
            change: is given the name of the field by which losses say that they read a tensor, and the tensor, whose
                rows are images.
        """
        return self._replace(
            logits=change("logits", self.logits),
            embedding=change("embedding", self.embedding),
            feature_maps={name: change("feature_maps", one) for name, one in self.feature_maps.items()},
        )


OutputField = Literal["logits", "embedding", "feature_maps"]
"""A field of ``ModelOutput``."""


class FeatureMapSpec(NamedTuple):
    """Shape of one stage's map, known before any forward pass: an input of side n gives a side of ceil(n / stride)."""

    channels: int
    stride: int


class FeatureSpec(NamedTuple):
    """Shapes of the ``ModelOutput`` that a network will return."""

    in_channels: int
    num_classes: int
    embedding_dim: int
    feature_maps: dict[str, FeatureMapSpec]


class Objects(NamedTuple):
    """The objects of one image.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2 in pixels from the upper left corner of the image, x1 < x2 and y1 < y2.
        labels: (n,) int64 class numbers from 0.
        difficult: (n,) bool, as Pascal VOC marks objects that are hard to see: to find one is neither right nor wrong.
        crowd: (n,) bool, as COCO marks boxes around many objects: to find some in it is neither right nor wrong.
    """

    boxes: Tensor
    labels: Tensor
    difficult: Tensor
    crowd: Tensor

    def select(self, kept: Tensor) -> "Objects":
        """Those at positions (m,) int64, or where (n,) bool is true."""
        return Objects(*(field[kept] for field in self))

    def cpu(self) -> "Objects":
        """The same objects on the CPU."""
        return Objects(*(field.cpu() for field in self))

    def trained(self) -> "Objects":
        """Those that a detector is trained on: neither difficult nor a crowd."""
        return self.select(~(self.difficult | self.crowd))


class Detections(NamedTuple):
    """What a detector found in one image, sorted by falling score.

    Attributes:
        boxes: (n, 4) float32, as those of ``Objects``.
        scores: (n,) float32 in [0, 1].
        labels: (n,) int64 class numbers from 0.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def cpu(self) -> "Detections":
        """The same detections on the CPU."""
        return Detections(*(field.cpu() for field in self))


OBJECT_FIELDS = 7
"""Numbers of one object in a packed target: x1, y1, x2, y2, label, difficult, crowd."""


def pack_objects(objects: Sequence[Objects]) -> Tensor:
    """The objects of some images as one tensor, so that a target is a tensor whatever the task.

    Args:
        objects: of each image, at least one image.

    Returns:
        (B, M, 7) float32 on the device of the first boxes: x1, y1, x2, y2, label, difficult and crowd (0 or 1) of each
        object; rows behind the last one of an image are all ``IGNORE_INDEX``.
    """
    longest = max(len(one.labels) for one in objects)
    packed = objects[0].boxes.new_full((len(objects), longest, OBJECT_FIELDS), float(IGNORE_INDEX), dtype=torch.float32)
    for row, one in zip(packed, objects, strict=True):
        row[: len(one.labels)] = torch.cat([one.boxes, torch.stack([field.float() for field in one[1:]], 1)], 1)
    return packed


def unpack_objects(packed: Tensor) -> list[Objects]:
    """The objects of each image, of what ``pack_objects`` gave.

    Args:
        packed: (B, M, 7).
    """
    found = []
    for rows in packed:
        kept = rows[rows[:, 4] != IGNORE_INDEX]
        found.append(Objects(kept[:, :4], kept[:, 4].long(), kept[:, 5] > 0, kept[:, 6] > 0))
    return found


@dataclass(frozen=True)
class Batch:
    """A mini-batch, already on its device.

    Attributes:
        inputs: view name -> (B, C, H, W) float tensor, normalized; "image" is the image itself.
        target: (B,) int64 class numbers; (B, H, W) where every pixel has a class, ``IGNORE_INDEX`` where it has none;
            (B, M, 7) float32 of ``pack_objects`` where images have boxes.
        index: (B,) int64 positions of the samples in their split.
        step: of the whole training, from 0; the training loop counts.
        epoch: likewise.
    """

    inputs: dict[str, Tensor]
    target: Tensor
    index: Tensor
    step: int = 0
    epoch: int = 0


def share(count: int, rank: int, size: int) -> slice:
    """Which rows of a batch are a rank's: consecutive, as many as every other rank's or one more or less.

    Args:
        count: rows of the batch.
        rank: from 0.
        size: how many ranks there are.
    """
    return slice(count * rank // size, count * (rank + 1) // size)


class Batches(Protocol):
    """A split as batches, the same ones whenever they are asked for. ``data.Loader`` is one."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int, start: int = 0, steps: Sequence[int] | None = None) -> Iterator[Batch]:
        """The batches of epoch ``number``, which alone decides order and augmentation.

        Args:
            number: of the epoch.
            start: batches to pass over.
            steps: numbers of batches, in place of all from ``start`` on; asked for where several ranks share them.
        """
