"""Which boxes of an image are kept, and what is counted of the others."""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from persistill.data.detection.box_source import RawObjects


@dataclass(frozen=True)
class ObjectCounts:
    """What a set of images holds, and what became of what is odd in it.

    Attributes:
        images: images.
        without_objects: of these, images of nothing. They are trained on and measured: what is found there is wrong.
        objects: objects that are kept.
        difficult: of these, marked as difficult; not trained on, neither right nor wrong where they are found.
        crowd: of these, boxes around many objects; likewise.
        clipped: of these, boxes that reached out of the image, and end at its edge now.
        empty: boxes without area, left out.
        outside: boxes that lie wholly outside of the image, left out.
        by_class: objects of each class, without difficult ones and crowds.
    """

    images: int
    without_objects: int
    objects: int
    difficult: int
    crowd: int
    clipped: int
    empty: int
    outside: int
    by_class: tuple[int, ...]

    def __add__(self, other: "ObjectCounts") -> "ObjectCounts":
        """The counts of both sets together."""
        whole = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)[:-1]}
        both = zip(self.by_class, other.by_class, strict=True)
        return ObjectCounts(**whole, by_class=tuple(one + more for one, more in both))

    @property
    def odd(self) -> bool:
        """Whether there is anything but objects inside of their images."""
        return any((self.without_objects, self.difficult, self.crowd, self.clipped, self.empty, self.outside))

    def in_words(self) -> str:
        """One line for people: what was found, and what was odd."""
        parts = [f"{self.images} images", f"{self.objects} objects"]
        for count, what in (
            (self.without_objects, "images without objects"),
            (self.difficult, "difficult"),
            (self.crowd, "crowds"),
            (self.clipped, "clipped at the edge"),
            (self.empty, "without area, left out"),
            (self.outside, "outside of their image, left out"),
        ):
            if count:
                parts.append(f"{count} {what}")
        return ", ".join(parts)


class Checked(NamedTuple):
    """The objects of an image that are kept, and the counts."""

    objects: RawObjects
    counts: ObjectCounts


def check_objects(raw: RawObjects, size: tuple[int, int], num_classes: int) -> Checked:
    """Clip boxes to their image, leave out those that hold nothing of it, and count.

    Args:
        raw: as the source states them.
        size: height and width of the image.
        num_classes: K.

    Raises:
        ValueError: if a coordinate is not finite, a box is turned round, or a label is no class.
    """
    x1, y1, x2, y2 = raw.boxes.T
    height, width = size
    broken = ~np.isfinite(raw.boxes).all(1)
    turned = (x2 < x1) | (y2 < y1)
    unknown = (raw.labels < 0) | (raw.labels >= num_classes)
    for wrong, what in (
        (broken, "is no box of four finite numbers"),
        (turned, "ends before it begins: boxes are x1, y1, x2, y2 with x1 < x2 and y1 < y2"),
    ):
        if wrong.any():
            raise ValueError(f"the box {raw.boxes[wrong][0].tolist()} {what}")
    if unknown.any():
        raise ValueError(f"an object has the class {raw.labels[unknown][0]}, and classes are 0 to {num_classes - 1}")
    empty = (x2 == x1) | (y2 == y1)
    outside = ~empty & ((x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height))
    kept = raw.select(~empty & ~outside)
    inside = kept.boxes.clip(0, [width, height, width, height])
    counted = kept.labels[~(kept.difficult | kept.crowd)]
    return Checked(
        kept._replace(boxes=inside),
        ObjectCounts(
            images=1,
            without_objects=int(len(kept.labels) == 0),
            objects=len(kept.labels),
            difficult=int(kept.difficult.sum()),
            crowd=int(kept.crowd.sum()),
            # A pixel or less is rounding: VOC counts pixels from 1, and shares of a side are rounded.
            clipped=int((np.abs(inside - kept.boxes) > 1).any(1).sum()),
            empty=int(empty.sum()),
            outside=int(outside.sum()),
            by_class=tuple(np.bincount(counted, minlength=num_classes).tolist()),
        ),
    )
