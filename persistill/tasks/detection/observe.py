"""What is kept of each image that a detector was shown, so that every figure can be told of all of them together."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from persistill import metrics
from persistill.metrics import DetectionMatches
from persistill.models import DetectionOutput
from persistill.structures import Batch, Detections, ModelOutput, Objects, unpack_objects
from persistill.tasks.detection.files import best


class Seen(NamedTuple):
    """Images that a detector was shown.

    Attributes:
        detections: of each image, on the CPU, the best ones.
        objects: of each image, on the CPU.
        positions: (N,) int64, of the images in their split.
        num_classes: K.
    """

    detections: list[Detections]
    objects: list[Objects]
    positions: Tensor
    num_classes: int

    @property
    def matches(self) -> DetectionMatches:
        """The detections, matched with the objects."""
        return metrics.match_detections(self.detections, self.objects, self.num_classes)

    @property
    def objects_that_count(self) -> Tensor:
        """(K,) objects of each class that are neither difficult nor a crowd."""
        labels = torch.cat([one.trained().labels for one in self.objects])
        return labels.bincount(minlength=self.num_classes)


def observe(output: ModelOutput, batch: Batch) -> dict[str, Any]:
    """Detections and objects of each image: "detections" and "objects", lists of B; "index" and "classes", (B,)."""
    assert isinstance(output, DetectionOutput)  # Task.check has seen it before any training
    # Logits of regions (R, 1 + K) have a column for the background, those of all places (B, K, N) have none.
    classes = output.logits.shape[1] - (output.logits.ndim == 2)
    return {
        "detections": [best(found.cpu()) for found in output.detections],
        "objects": [objects.cpu() for objects in unpack_objects(batch.target)],
        "index": batch.index,
        "classes": torch.full_like(batch.index, classes),
    }


def joined(observed: Mapping[str, Any]) -> Seen:
    """What ``observe`` gave, joined over all images."""
    return Seen(observed["detections"], observed["objects"], observed["index"], int(observed["classes"][0]))
