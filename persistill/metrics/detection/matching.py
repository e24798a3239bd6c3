"""Which detections are right, by the protocol of COCO, as pycocotools decides it."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from persistill.errors import UserError
from persistill.structures import Detections, Objects

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Intersections over union from which on a detection may be right: 0.5, 0.55, ..., 0.95."""
AREAS = ("all", "small", "medium", "large")
"""Objects of less than 32 x 32 pixels, of less than 96 x 96, and of more."""
MOST = 100
"""Detections of one class in one image that count, the ones with the highest scores."""

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class ClassMatches(NamedTuple):
    """The detections of one class among objects of one size, sorted by falling score, images in order where equal.

    Attributes:
        image: (D,) positions of their images.
        rank: (D,) position among the detections of the class in the image, from 0.
        scores: (D,).
        right: (T, D) matched with an object that counts, at each of the thresholds.
        wrong: (T, D) matched with nothing. The others are neither right nor wrong.
        objects: (N,) objects of each image that count.
    """

    image: IntArray
    rank: IntArray
    scores: FloatArray
    right: BoolArray
    wrong: BoolArray
    objects: IntArray


@dataclass(frozen=True)
class DetectionMatches:
    """All detections of some images, matched with their objects. Everything else is counted from this.

    Attributes:
        images: N.
        classes: of each class, of each of ``AREAS``, its matches.
    """

    images: int
    classes: tuple[tuple[ClassMatches, ...], ...]


def match_detections(
    detections: Sequence[Detections], objects: Sequence[Objects], num_classes: int
) -> DetectionMatches:
    """Match detections with objects as COCO does it (pycocotools): each takes the free object that it overlaps most.

    Difficult objects and crowds make what matches them neither right nor wrong; several detections may match one crowd.
    Sizes are areas of boxes; COCO's own files state areas of outlines, which are smaller.

    Args:
        detections: of each image.
        objects: of each image, in the same coordinates.
        num_classes: K.

    Raises:
        UserError: if the numbers of images differ, there are none, a label is no class, or a score or a box is not
            finite.
    """
    _check(detections, objects, num_classes)
    from pycocotools.coco import COCO  # noqa: PLC0415  slow to import
    from pycocotools.cocoeval import COCOeval  # noqa: PLC0415

    class Evaluator(COCOeval):  # type: ignore[misc]
        """Takes difficult objects for objects that do not count; pycocotools knows crowds only."""

        def _prepare(self) -> None:
            super()._prepare()
            for found in self._gts.values():
                for entry in found:
                    entry["ignore"] = int(entry["iscrowd"] or entry["difficult"])

    truth, found = COCO(), COCO()
    truth.dataset = _dataset(objects, num_classes)
    found.dataset = _dataset(detections, num_classes)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells the terminal of every step
        truth.createIndex()
        found.createIndex()
        evaluator = Evaluator(truth, found, "bbox")
        evaluator.params.imgIds = [*range(len(objects))]
        evaluator.params.catIds = [*range(num_classes)]
        evaluator.params.iouThrs = np.array(THRESHOLDS)
        evaluator.params.maxDets = [MOST]
        evaluator.evaluate()
    entries = iter(evaluator.evalImgs)
    classes = tuple(tuple(_collect([next(entries) for _ in objects]) for _ in AREAS) for _ in range(num_classes))
    return DetectionMatches(len(objects), classes)


def _check(detections: Sequence[Detections], objects: Sequence[Objects], num_classes: int) -> None:
    if len(detections) != len(objects) or not objects:
        raise UserError(
            f"detections and objects must be those of the same images, one or more; {len(detections)} and "
            f"{len(objects)} were given."
        )
    pairs: tuple[tuple[str, Sequence[Detections | Objects]], ...] = (("detections", detections), ("objects", objects))
    for what, several in pairs:
        for position, one in enumerate(several):
            wrong = (one.labels < 0) | (one.labels >= num_classes)
            if wrong.any():
                raise UserError(
                    f"the {what} of image {position} hold the class {int(one.labels[wrong][0])}; classes are 0 to "
                    f"{num_classes - 1}."
                )
            scores = one.scores if isinstance(one, Detections) else one.boxes
            if not (one.boxes.isfinite().all() and scores.isfinite().all()):
                raise UserError(
                    f"the {what} of image {position} hold numbers that are not finite. Did the training of this "
                    "network diverge? Look at its log.jsonl."
                )


def _dataset(images: Sequence[Detections | Objects], num_classes: int) -> dict[str, Any]:
    """In the form of COCO's files."""
    annotations: list[dict[str, Any]] = []
    for position, one in enumerate(images):
        boxes = one.boxes.double().cpu().numpy()
        extents = boxes[:, 2:] - boxes[:, :2]
        more: dict[str, list[Any]] = {"category_id": one.labels.tolist()}
        if isinstance(one, Detections):
            more |= {"score": one.scores.double().tolist(), "iscrowd": [0] * len(boxes)}
        else:
            more |= {"iscrowd": one.crowd.int().tolist(), "difficult": one.difficult.int().tolist()}
        for row, (box, extent) in enumerate(zip(boxes, extents, strict=True)):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 stands for no match
                    "image_id": position,
                    "bbox": [*box[:2], *extent],
                    "area": float(extent.prod()),
                    **{name: values[row] for name, values in more.items()},
                }
            )
    return {
        "images": [{"id": position} for position in range(len(images))],
        "categories": [{"id": number} for number in range(num_classes)],
        "annotations": annotations,
    }


def _collect(entries: Sequence[dict[str, Any] | None]) -> ClassMatches:
    """The evaluator's answers for one class and size, image by image."""
    scores: list[FloatArray] = [np.zeros(0)]
    image: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    rank: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    matched: list[BoolArray] = [np.zeros((len(THRESHOLDS), 0), dtype=np.bool_)]
    ignored: list[BoolArray] = [np.zeros((len(THRESHOLDS), 0), dtype=np.bool_)]
    objects = np.zeros(len(entries), dtype=np.int64)
    for position, entry in enumerate(entries):
        if entry is None:
            continue
        count = len(entry["dtScores"])
        scores.append(np.asarray(entry["dtScores"], dtype=np.float64))
        image.append(np.full(count, position))
        rank.append(np.arange(count))
        matched.append(np.asarray(entry["dtMatches"]).reshape(len(THRESHOLDS), count) > 0)
        ignored.append(np.asarray(entry["dtIgnore"]).reshape(len(THRESHOLDS), count).astype(np.bool_))
        objects[position] = int((np.asarray(entry["gtIgnore"]) == 0).sum())
    every, hits, free = np.concatenate(scores), np.concatenate(matched, 1), ~np.concatenate(ignored, 1)
    order = np.argsort(-every, kind="stable")
    return ClassMatches(
        np.concatenate(image)[order],
        np.concatenate(rank)[order],
        every[order],
        (hits & free)[:, order],
        (~hits & free)[:, order],
        objects,
    )
