"""What a detector returns: levels, head outputs of each level, losses and detections."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from persistill.structures import Detections, ModelOutput


class DenseLevel(NamedTuple):
    """What a dense head says at the places of one level. A place has A anchors; FCOS has one.

    Attributes:
        logits: (B, H, W, A, K) of the classes, each with a sigmoid of its own; (B, H, W, A, 1 + K) in a softmax with
            the background first where ``background``.
        boxes: (B, H, W, A, 4), coded against the anchors as the detector does it.
        centerness: (B, H, W, A), the logit of how central a place lies in its box; None for heads without it.
        background: whether the classes compete with the background in a softmax, as in SSD.
    """

    logits: Tensor
    boxes: Tensor
    centerness: Tensor | None
    background: bool


class DetectionOutput(ModelOutput):
    """A ``ModelOutput`` of a detector, with more fields, so that losses on feature maps need to know nothing of them.

    Attributes:
        logits: (B, K, N) class logits of all N places and anchors of a dense head, levels one after the other;
            (R, 1 + K) of the regions, background first, where regions are classified one by one.
        embedding: (B, C), the mean of the last level; (R, D) of the regions where there are any: what goes into the
            layers that classify them and correct their boxes.
        feature_maps: "level1", ... -> (B, C, H, W), from fine to coarse: what the heads see.
        levels: of a dense head, in the order of ``feature_maps``; empty for others.
        losses: name -> scalar; (S,) of a batch that S calls were given parts of. Empty in evaluation mode.
        detections: of each image, sorted by falling score; empty in training mode.
        image_size: height and width of the batch of images.
        loss_counts: name of a loss -> (S,) int64, over how many things each is a mean: losses of parts of a batch,
            weighted by them, make that of the whole. Empty for detectors of another form than torchvision's.
    """

    # All are items of the tuple, so that code which takes nested tuples apart and puts them together again, as wrappers
    # for other precisions and several devices do, loses none.
    _fields = (*ModelOutput._fields, "levels", "losses", "detections", "image_size", "loss_counts")  # type: ignore[assignment]

    levels: Sequence[DenseLevel] = property(itemgetter(3))  # type: ignore[assignment]
    losses: Mapping[str, Tensor] = property(itemgetter(4))  # type: ignore[assignment]
    detections: Sequence[Detections] = property(itemgetter(5))  # type: ignore[assignment]
    image_size: tuple[int, int] = property(itemgetter(6))  # type: ignore[assignment]
    loss_counts: Mapping[str, Tensor] = property(itemgetter(7))  # type: ignore[assignment]

    def __new__(
        cls,
        logits: Tensor,
        embedding: Tensor,
        feature_maps: dict[str, Tensor],
        levels: Sequence[DenseLevel] = (),
        losses: Mapping[str, Tensor] | None = None,
        detections: Sequence[Detections] = (),
        image_size: tuple[int, int] = (0, 0),
        loss_counts: Mapping[str, Tensor] | None = None,
    ) -> Self:
        """A ``ModelOutput`` of eight fields."""
        fields = (logits, embedding, feature_maps, levels, losses or {}, detections, image_size, loss_counts or {})
        return tuple.__new__(cls, fields)

    def _replace(self, **fields: Any) -> Self:
        """A copy with other fields."""
        return type(self)(**{**dict(zip(self._fields, self, strict=True)), **fields})

    def map(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        """As of ``ModelOutput``. Levels are logits, and rows of "losses" are calls; detections stay as they are.

        Regions are left as they are as well: they are not as many as images, and there are none in a training.
        """
        of_images = self.logits.ndim != 2
        levels = [
            level._replace(
                logits=change("logits", level.logits),
                boxes=change("logits", level.boxes),
                centerness=None if level.centerness is None else change("logits", level.centerness),
            )
            for level in self.levels
        ]
        logits = self.logits
        if levels:
            logits = join_levels(levels)
        elif of_images:
            logits = change("logits", logits)
        return self._replace(
            logits=logits,
            embedding=change("embedding", self.embedding) if of_images else self.embedding,
            feature_maps={name: change("feature_maps", one) for name, one in self.feature_maps.items()},
            levels=levels,
            losses={
                name: change("losses", loss.reshape(1) if loss.ndim == 0 else loss)
                for name, loss in self.losses.items()
            },
            loss_counts={name: change("losses", count) for name, count in self.loss_counts.items()},
        )


def join_levels(levels: Sequence[DenseLevel]) -> Tensor:
    """The logits of all levels, one after the other: (B, K, N), empty where those of the levels are."""
    if not levels[0].logits.numel():
        return levels[0].logits
    return torch.cat([level.logits.flatten(1, 3) for level in levels], 1).transpose(1, 2)
