"""Over how many things each loss of a detector of torchvision's is a mean.

That makes losses of parts of a batch those of the whole, weighted by these numbers: a mean over objects is not the mean
of the means over the objects of each part.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from persistill.models.detection.drawn_samples import draw_samples


def has_known_losses(module: nn.Module) -> bool:
    """Whether a detector computes its losses as torchvision's FCOS, RetinaNet, SSD or Faster R-CNN does."""
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet  # noqa: PLC0415  slow to import
    from torchvision.models.detection.fcos import FCOSHead  # noqa: PLC0415
    from torchvision.models.detection.retinanet import (  # noqa: PLC0415
        RetinaNetClassificationHead,
        RetinaNetHead,
        RetinaNetRegressionHead,
    )
    from torchvision.models.detection.roi_heads import RoIHeads  # noqa: PLC0415
    from torchvision.models.detection.rpn import RegionProposalNetwork  # noqa: PLC0415
    from torchvision.models.detection.ssd import SSD  # noqa: PLC0415

    computing: dict[type, dict[str, type]] = {
        FCOS: {"head": FCOSHead},
        RetinaNet: {
            "head": RetinaNetHead,
            "head.classification_head": RetinaNetClassificationHead,
            "head.regression_head": RetinaNetRegressionHead,
        },
        SSD: {},
        FasterRCNN: {"rpn": RegionProposalNetwork, "roi_heads": RoIHeads},
    }
    parts = computing.get(type(module))
    return parts is not None and all(type(module.get_submodule(name)) is kind for name, kind in parts.items())


@contextlib.contextmanager
def counted_losses(module: nn.Module, images: Tensor) -> Iterator[dict[str, Tensor]]:
    """Note, of one call in training mode inside, what its losses are means over.

    Args:
        module: the detector.
        images: (B, C, H, W), of the call.

    Yields:
        Filled by the call: name of a loss -> (1,) int64. It stays empty where ``has_known_losses`` is false.
    """
    counts = dict[str, Tensor]()
    with contextlib.ExitStack() as replaced:
        if has_known_losses(module):
            _watch(module, images, counts, replaced)
        yield counts


def _watch(module: Any, images: Tensor, counts: dict[str, Tensor], replaced: contextlib.ExitStack) -> None:
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet  # noqa: PLC0415  slow to import

    if isinstance(module, FasterRCNN):  # means over all anchors and regions that were drawn
        for stage, names in (
            (module.rpn, ("loss_objectness", "loss_rpn_box_reg")),
            (module.roi_heads, ("loss_classifier", "loss_box_reg")),
        ):
            replaced.enter_context(_replaced(stage, "fg_bg_sampler", _counted_sampler(stage, names, counts)))
    elif isinstance(module, RetinaNet):  # means over the places of each image, and then over images
        counts |= dict.fromkeys(
            ("classification", "bbox_regression"), torch.full((1,), len(images), device=images.device)
        )
    else:  # means over all places of objects
        owner: Any = module.head if isinstance(module, FCOS) else module
        replaced.enter_context(_replaced(owner, "compute_loss", _counted_loss(owner.compute_loss, counts)))


def _counted_loss(compute: Callable[..., dict[str, Tensor]], counts: dict[str, Tensor]) -> Callable[..., Any]:
    def counted(targets: Any, outputs: Any, anchors: Any, matched: Sequence[Tensor]) -> dict[str, Tensor]:
        losses = compute(targets, outputs, anchors, matched)
        count = torch.stack([(one >= 0).sum() for one in matched]).sum().reshape(1)
        counts.update(dict.fromkeys(losses, count))
        return losses

    return counted


def _counted_sampler(stage: Any, names: Sequence[str], counts: dict[str, Tensor]) -> Callable[..., Any]:
    sampler = stage.fg_bg_sampler

    def counted(labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positive, negative = draw_samples(sampler, labels, names[0])
        count = torch.stack([mask.sum() for mask in (*positive, *negative)]).sum().reshape(1)
        counts.update(dict.fromkeys(names, count))
        return positive, negative

    return counted


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of an object, and not of its class, while this context lasts."""
    own = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)
