"""Where boxes of an image lie once it was brought to another size, as ``preprocessing.fit_frame`` does it."""

import numpy as np

from persistill.data.detection.box_source import RawObjects
from persistill.utils.preprocessing import Preprocessing, Resize, framing

Size = tuple[int, int]

_LEAST = 2.0**-6
"""Pixels of a side, below which a box is taken for one that a rounding left at the edge: an object that ends just where
the frame begins. In float32 such a box has no area, or none once it is mirrored."""


def frame_objects(objects: RawObjects, size: Size, frame: Size, resize: Resize) -> RawObjects:
    """Boxes in the frame, clipped to it; those of which nothing is in it any more (of a "crop") are left out.

    Args:
        objects: in pixels of the image.
        size: height and width of the image.
        frame: height and width to which it is brought.
        resize: how.
    """
    (height, width), (tall, wide) = size, frame
    scale, shift = framing((width, height), (wide, tall), Preprocessing(resize))
    boxes = objects.boxes * np.tile(scale, 2) + np.tile(shift, 2)
    inside = boxes.clip(0, [wide, tall, wide, tall])
    kept = (inside[:, 2:] - inside[:, :2] >= _LEAST).all(1)
    return objects._replace(boxes=inside).select(kept)
