"""The boxes and scores at all places of a dense detector, before any of them is left out."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from persistill.models.detection.detector import Detector
from persistill.models.feature_extraction.feature_layout import Size


class Suppression(NamedTuple):
    """How a detector goes from boxes at all places to detections.

    Attributes:
        score_threshold: only boxes with a larger score count.
        iou_threshold: of two boxes of a class that overlap more than that, the one with the smaller score is left out.
        most: detections of an image.
    """

    score_threshold: float
    iou_threshold: float
    most: int


def suppression(detector: Detector) -> Suppression | None:
    """How a dense detector selects its detections; None for detectors of two stages and those of other form."""
    from torchvision.models.detection import FCOS, RetinaNet  # noqa: PLC0415  slow to import
    from torchvision.models.detection.ssd import SSD  # noqa: PLC0415

    module: Any = detector.module
    if not isinstance(module, FCOS | RetinaNet | SSD):
        return None
    return Suppression(float(module.score_thresh), float(module.nms_thresh), int(module.detections_per_img))


class DenseDecoder(nn.Module):
    """FCOS, RetinaNet or SSD for images of one size, without the selection: every place and anchor has a box.

    Places are fixed, so that anchors are constants, and nothing depends on what is in an image: programs of it can be
    compiled.

    Args:
        detector: dense (``suppression`` knows it), in evaluation mode.
        image_size: height and width of the images.
    """

    anchors: Tensor
    limits: Tensor

    def __init__(self, detector: Detector, image_size: Size) -> None:
        from torchvision.models.detection.image_list import ImageList  # noqa: PLC0415
        from torchvision.models.detection.ssd import SSD  # noqa: PLC0415

        super().__init__()
        self.detector = detector
        self._softmax = isinstance(detector.module, SSD)
        image = torch.zeros(1, detector.spec.in_channels, *image_size)
        with torch.no_grad():
            anchors: Tensor = self._part("anchor_generator")(ImageList(image, [image_size]), self._features(image))[0]
        self.register_buffer("anchors", anchors)
        height, width = image_size
        self.register_buffer("limits", torch.tensor([width, height, width, height], dtype=torch.float32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All boxes and scores.

        Args:
            x: (B, C, H, W), normalized.

        Returns:
            Boxes (B, N, 4), x1, y1, x2, y2 in pixels, clipped to the image; and scores (B, N, K) in [0, 1].
        """
        head = self._part("head")(self._features(x))
        logits: Tensor = head["cls_logits"]
        scores = logits.softmax(-1) if self._softmax else logits.sigmoid()
        if "bbox_ctrness" in head:
            scores = (scores * head["bbox_ctrness"].sigmoid()).sqrt()
        boxes = self._decode(head["bbox_regression"]).clamp(min=0.0)
        return torch.minimum(boxes, self.limits), scores[..., 1:]  # the first column stands for the background

    def _features(self, x: Tensor) -> list[Tensor]:
        features = self._part("backbone")(x)
        return [features] if isinstance(features, Tensor) else list(features.values())

    def _decode(self, codes: Tensor) -> Tensor:
        coder: Any = self.detector.module.box_coder
        if not hasattr(coder, "decode_single"):  # FCOS's, which takes batches
            return coder.decode(codes, self.anchors)  # type: ignore[no-any-return]
        count = codes.shape[0]  # and not len(), which programs would take for a constant
        boxes: Tensor = coder.decode_single(codes.flatten(0, 1), self.anchors.expand(count, -1, -1).flatten(0, 1))
        return boxes.view(count, -1, 4)

    def _part(self, name: str) -> nn.Module:
        return self.detector.module.get_submodule(name)
