"""Detectors of every kind, small and in double precision, with every loss of ``persistill.losses.detection``."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1] / "losses"))

import test_every_loss as every

from persistill.losses import DistillationLoss, MethodContext, detection
from persistill.models import Detector
from persistill.structures import Batch, Objects, pack_objects
from persistill.tasks import Detection
from persistill.training import Criterion, Frozen, OnlineTeacher

IMAGES = torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CLASSES = 3


def some_objects(position: int) -> Objects:
    """None to three of them."""
    generator, count = torch.Generator().manual_seed(position), (position * 7) % 4
    corner = 16 * torch.rand(count, 2, generator=generator)
    extent = 6 + 9 * torch.rand(count, 2, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    nothing = torch.zeros(count, dtype=torch.bool)
    return Objects(torch.cat([corner, corner + extent], 1), labels, nothing, nothing)


def batch(index: torch.Tensor) -> Batch:
    return Batch({"image": IMAGES[index]}, pack_objects([some_objects(one) for one in index.tolist()]).double(), index)


class Backbone(nn.Module):
    """Two levels, of strides 4 and 8."""

    out_channels = 32

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 32, 3, 4, 1), nn.Conv2d(32, 32, 3, 2, 1)
        self.norm = nn.BatchNorm2d(32) if norm else nn.Identity()

    def forward(self, x):
        first = self.norm(self.one(x))
        return {"0": first, "1": self.two(first.relu())}


def fcos(backbone: Backbone) -> nn.Module:
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return FCOS(backbone, 1 + CLASSES, anchor_generator=AnchorGenerator(((4,), (8,)), ((1.0,),) * 2))


def retinanet(backbone: Backbone) -> nn.Module:
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return RetinaNet(backbone, 1 + CLASSES, anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2))


def ssd(backbone: Backbone) -> nn.Module:
    from torchvision.models.detection.ssd import SSD, DefaultBoxGenerator

    backbone.out_channels = [32, 32]
    boxes = DefaultBoxGenerator([[2], [2, 3]], scales=[0.1, 0.3, 0.6])
    return SSD(backbone, boxes, (32, 32), 1 + CLASSES)


def faster_rcnn(backbone: Backbone) -> nn.Module:
    """It draws fewer anchors and regions than there are."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    return FasterRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,)), ((1.0,),) * 2),
        rpn_batch_size_per_image=16,
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 3, 1),
        box_head=TwoMLPHead(32 * 3 * 3, 16),
        box_predictor=FastRCNNPredictor(16, 1 + CLASSES),
        box_batch_size_per_image=8,
    )


HEADS = {"FCOS": fcos, "RetinaNet": retinanet, "SSD": ssd, "Faster R-CNN": faster_rcnn}


def losses() -> Iterator[tuple[str, DistillationLoss]]:
    """Every loss of the package; one that takes another takes one with trained parts and one without."""
    inner = [
        next(
            loss
            for loss in some
            if loss.required_outputs == {"feature_maps"} and loss.num_teachers == 1 and loss.preparation is None
        )
        for some in (every.BUILT, every.PURE)
    ]
    for name in detection.__all__:
        value = getattr(detection, name)
        if inspect.isclass(value) and issubclass(value, DistillationLoss):
            if "loss" in value.model_fields:
                yield from ((f"{name} of {every.named(loss)}", value(loss=loss)) for loss in inner)
            else:
                yield name, value()


def cases() -> dict[str, tuple[str, tuple[DistillationLoss, ...], bool, dict]]:
    """Name -> head, losses, whether there are batch norms, and changed settings."""
    found = {f"FCOS with {name}": ("FCOS", (loss,), False, {}) for name, loss in losses()}
    for head in HEADS:
        found[f"{head} alone, with norm"] = (head, (), True, {})
        found[f"{head} alone, in parts"] = (head, (), False, {"accumulate": 2})
    found["FCOS with DenseKD, in parts"] = ("FCOS", (detection.DenseKD(), detection.PKD()), False, {"accumulate": 2})
    found["FCOS with DenseKD, in half precision"] = ("FCOS", (detection.DenseKD(),), True, {"precision": "bf16"})
    return found


def training(name: str) -> tuple[Detector, Criterion, list[OnlineTeacher], dict]:
    """Network, loss and teachers of a case, and its settings."""
    head, losses, norm, changes = cases()[name]
    network, other = (Detector(head, HEADS[head](Backbone(norm=norm)), 3, CLASSES, (32, 32)) for _ in range(2))
    if losses:
        nn.init.zeros_(other.module.head.classification_head.cls_logits.bias)  # a teacher that sees something
    task = Detection()
    teacher = Frozen(task.teaching(other))
    some, targets = IMAGES[:4].float(), batch(torch.arange(20)).target
    with torch.no_grad():
        context = MethodContext(network.eval()(some), [teacher(some)], targets)
    criterion = Criterion(losses, task=task, contexts=[context] * len(losses))
    return network, criterion, [OnlineTeacher(teacher)] * bool(losses), changes
