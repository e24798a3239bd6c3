"""What an evaluation of a detector leaves, in plain arrays that need no torch to be read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from persistill.metrics import DetectionMatches
from persistill.structures import Detections, Objects

DETECTIONS = "detections.npz"
"""Detections and objects of the test images, and of the validation images under names that begin with "validation_"."""
DRAWS = "draws.npz"
"""Figure -> (1 + D,) float64: its value on the images as they are, and in each of D draws of images with replacement,
the same draws for every network of the same images; of the validation images with "validation_" before the name."""
MOST = 100
"""Detections of an image that are kept, those with the highest scores; COCO's limit."""


def best(found: Detections, most: int = MOST) -> Detections:
    """The detections of an image with the highest scores."""
    return Detections(*(field[:most] for field in found))


def detection_arrays(
    detections: Sequence[Detections], objects: Sequence[Objects], index: NDArray[np.int64], matches: DetectionMatches
) -> dict[str, NDArray[Any]]:
    """Detections and objects of N images as they are stored.

    Args:
        detections: of each image, on the CPU, sorted by falling score.
        objects: of each image, on the CPU.
        index: (N,) positions of the images in their split.
        matches: of these detections with these objects.

    Returns:
        "index": (N,). Of all detections, sorted by image and then by falling score: "image" (n,) int64, the row of
        their image, from 0; "boxes" (n, 4) float32, x1, y1, x2, y2 in pixels of the image as networks see it; "scores"
        (n,) float32; "labels" (n,) int64; "right" and "wrong" (n,) bool, at an intersection over union of 0.5, where
        those that are neither do not count. Of all objects, sorted by image: "object_image" (m,), "object_boxes"
        (m, 4), "object_labels" (m,), "object_difficult" and "object_crowd" (m,) bool.
    """
    image = _rows(detections)
    labels = _joined(detections, "labels")
    right, wrong = _judged(image, labels, matches)
    return {
        "index": index,
        "image": image,
        "boxes": _joined(detections, "boxes"),
        "scores": _joined(detections, "scores"),
        "labels": labels,
        "right": right,
        "wrong": wrong,
        "object_image": _rows(objects),
        **{f"object_{name}": _joined(objects, name) for name in Objects._fields},
    }


def read_detections(
    arrays: Mapping[str, NDArray[Any]], prefix: str = ""
) -> tuple[list[Detections], list[Objects], NDArray[np.int64]]:
    """Detections and objects of each image, and the images' ``index``, of what was stored.

    Args:
        arrays: of ``DETECTIONS``.
        prefix: "validation_" for those of the validation images.
    """
    index: NDArray[np.int64] = arrays[f"{prefix}index"]

    def by_image(owner: str, fields: Sequence[str]) -> list[list[torch.Tensor]]:
        ends = np.searchsorted(arrays[f"{prefix}{owner}"], np.arange(len(index)), side="right").tolist()
        columns = [torch.from_numpy(arrays[f"{prefix}{name}"]) for name in fields]
        return [[column[start:end] for column in columns] for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    found = [Detections(*fields) for fields in by_image("image", Detections._fields)]
    wanted = by_image("object_image", [f"object_{name}" for name in Objects._fields])
    return found, [Objects(*fields) for fields in wanted], index


def _rows(several: Sequence[Detections | Objects]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(several)), [len(one.labels) for one in several])


def _joined(several: Sequence[Detections | Objects], name: str) -> NDArray[Any]:
    joined: NDArray[Any] = torch.cat([getattr(one, name) for one in several]).numpy()
    return joined


def _judged(
    image: NDArray[np.int64], labels: NDArray[np.int64], matches: DetectionMatches
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each detection is right or wrong at 0.5; matches know it by class, image and rank."""
    right, wrong = np.zeros(len(image), np.bool_), np.zeros(len(image), np.bool_)
    for number, (one, *_) in enumerate(matches.classes):
        rows = np.flatnonzero(labels == number)
        places = rows[np.searchsorted(image[rows], one.image) + one.rank]
        right[places], wrong[places] = one.right[0], one.wrong[0]
    return right, wrong
