"""torchvision's FCOS, RetinaNet and Faster R-CNN on a feature pyramid of any encoder.

Anchors are those of the published detectors, whose pyramids have strides of 8 to 128 (FCOS, RetinaNet) and 4 to 64
(Faster R-CNN), at the strides of this pyramid.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from persistill.models.detection.fpn import FPNBackbone, Pyramid
from persistill.models.encoder import Encoder

WIDTH = 256
"""Channels of the levels, in all published detectors."""

_THRESHOLD = 0.05
"""Least score of a detection. torchvision's FCOS has 0.2, which leaves nothing of a detector that is not sure yet."""
_ASPECT_RATIOS = (0.5, 1.0, 2.0)


def fcos(encoder: Encoder, width: int, num_labels: int) -> nn.Module:
    """FCOS (Tian et al. 2019, arXiv 1904.01355): one anchor a place, as large as the stride.

    Args:
        encoder: under the pyramid.
        width: channels of the levels and of the heads.
        num_labels: 1 + K; label 0 is the background, which no object has.
    """
    from torchvision.models.detection import FCOS  # noqa: PLC0415  slow to import

    backbone = FPNBackbone(encoder, width, Pyramid(3, "conv"))
    anchors = _anchors(((stride,) for stride in backbone.strides), (1.0,))
    module: Any = FCOS(backbone, num_labels, anchor_generator=anchors, score_thresh=_THRESHOLD)
    begin_at_one_stride(module)
    made: nn.Module = module
    return made


def begin_at_one_stride(module: Any) -> None:
    """Have the boxes of an FCOS begin at one stride, as in the paper, where distances begin at exp(0).

    torchvision's go through a ReLU and begin around 0: those that come to lie below it at all places never learn.
    """
    nn.init.ones_(module.head.regression_head.bbox_reg.bias)


def retinanet(encoder: Encoder, width: int, num_labels: int) -> nn.Module:
    """RetinaNet (Lin et al. 2017, arXiv 1708.02002): nine anchors a place, of 4 strides and thirds of an octave more.

    Args:
        encoder: under the pyramid.
        width: channels of the levels and of the heads.
        num_labels: 1 + K; label 0 is the background, which no object has.
    """
    from torchvision.models.detection import RetinaNet  # noqa: PLC0415

    backbone = FPNBackbone(encoder, width, Pyramid(3, "conv"))
    sizes = (tuple(int(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in backbone.strides)
    module: nn.Module = RetinaNet(backbone, num_labels, anchor_generator=_anchors(sizes, _ASPECT_RATIOS))
    return module


def faster_rcnn(encoder: Encoder, width: int, num_labels: int) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) on a feature pyramid; three anchors a place, of 8 strides.

    Args:
        encoder: under the pyramid.
        width: channels of the levels; regions have an embedding of four times as many.
        num_labels: 1 + K; label 0 is the background.
    """
    from torchvision.models.detection import FasterRCNN  # noqa: PLC0415
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead  # noqa: PLC0415
    from torchvision.ops import MultiScaleRoIAlign  # noqa: PLC0415

    backbone = FPNBackbone(encoder, width, Pyramid(4, "pool"))
    pool = MultiScaleRoIAlign(list(backbone.pooled_levels), output_size=7, sampling_ratio=2)
    module: nn.Module = FasterRCNN(
        backbone,
        rpn_anchor_generator=_anchors(((8 * stride,) for stride in backbone.strides), _ASPECT_RATIOS),
        box_roi_pool=pool,
        box_head=TwoMLPHead(width * 7**2, 4 * width),
        box_predictor=FastRCNNPredictor(4 * width, num_labels),
    )
    return module


HEADS: Mapping[str, Callable[[Encoder, int, int], nn.Module]] = {
    "fcos": fcos,
    "retinanet": retinanet,
    "faster-rcnn": faster_rcnn,
}
"""Before the name of an encoder: "fcos:timm/NAME", or with the width of its levels "fcos-64:timm/NAME"."""


def _anchors(sizes: Any, aspect_ratios: tuple[float, ...]) -> Any:
    from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: PLC0415

    sizes = tuple(sizes)
    return AnchorGenerator(sizes, (aspect_ratios,) * len(sizes))
