"""What a detector returns: levels, head outputs of each level, losses and detections."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Self

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
        losses: name -> scalar; empty in evaluation mode.
        detections: of each image, sorted by falling score; empty in training mode.
        image_size: height and width of the batch of images.
    """

    # All are items of the tuple, so that code which takes nested tuples apart and puts them together again, as wrappers
    # for other precisions and several devices do, loses none.
    _fields = (*ModelOutput._fields, "levels", "losses", "detections", "image_size")  # type: ignore[assignment]

    levels: Sequence[DenseLevel] = property(itemgetter(3))  # type: ignore[assignment]
    losses: Mapping[str, Tensor] = property(itemgetter(4))  # type: ignore[assignment]
    detections: Sequence[Detections] = property(itemgetter(5))  # type: ignore[assignment]
    image_size: tuple[int, int] = property(itemgetter(6))  # type: ignore[assignment]

    def __new__(
        cls,
        logits: Tensor,
        embedding: Tensor,
        feature_maps: dict[str, Tensor],
        levels: Sequence[DenseLevel] = (),
        losses: Mapping[str, Tensor] | None = None,
        detections: Sequence[Detections] = (),
        image_size: tuple[int, int] = (0, 0),
    ) -> Self:
        """A ``ModelOutput`` of seven fields."""
        return tuple.__new__(cls, (logits, embedding, feature_maps, levels, losses or {}, detections, image_size))

    def _replace(self, **fields: Any) -> Self:
        """A copy with other fields."""
        return type(self)(**{**dict(zip(self._fields, self, strict=True)), **fields})
