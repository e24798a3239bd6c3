"""How detectors are exported: files are scored by AP, and a script draws what they find."""

from collections.abc import Sequence

import torch
from torch import Tensor

from persistill import metrics
from persistill.exporters import ExportTask, standalone_script
from persistill.exporters.boxes import BOXES
from persistill.structures import Detections, unpack_objects
from persistill.utils.image_files import DRAWN_BOXES

_SCRIPT = standalone_script(
    "Find objects with model.nms.onnx, and draw them beside each image:   pip install numpy pillow onnxruntime;   "
    "python detect.py IMAGE...",
    """\
for path, pixels in readable_images(sys.argv[1:]):
    boxes, scores, labels = session.run(None, {"image": np.float32(pixels[None]) / 255})
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image).convert("RGB")
    boxes = restore_boxes(boxes, image.size, shape[:0:-1], preprocessing)
    for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist()):
        if score >= 0.3:
            print(path, about["classes"][label], f"{score:.1%}", *(f"{corner:.1f}" for corner in box))
            ImageDraw.Draw(image).rectangle(box, outline="red", width=2)
    image.save(place_beside(path))
""",
    file="model.nms.onnx",
    imports="from PIL import ImageDraw\n",
    writes=DRAWN_BOXES,
)


def _ap(found: Sequence[Detections], targets: Tensor) -> float:
    """COCO's AP, NaN without any object."""
    objects = unpack_objects(targets)
    labels = torch.cat([*(one.labels for one in found), *(one.labels for one in objects)])
    classes = 1 + int(labels.max()) if labels.numel() else 1
    return metrics.coco_figures(metrics.match_detections(found, objects, classes))["ap"]


DETECT = ExportTask("detection", "ap", _ap, "detect.py", _SCRIPT, compared=64, outputs=BOXES, runs="nms")
"""Boxes around objects."""
