"""What a detector of torchvision's, or one that is called like it, is made of."""

from typing import Any

from torch import nn


def is_detector(module: nn.Module) -> bool:
    """Whether a module is a detector with torchvision's calling convention: it has its transform and a backbone."""
    if not (hasattr(module, "transform") and hasattr(module, "backbone")):
        return False
    from torchvision.models.detection.transform import GeneralizedRCNNTransform  # noqa: PLC0415  slow to import

    return isinstance(module.transform, GeneralizedRCNNTransform)


def is_dense(module: nn.Module) -> bool:
    """Whether a head answers at all places of all levels, and is called with their maps."""
    from torchvision.models.detection import FCOS, RetinaNet  # noqa: PLC0415  slow to import
    from torchvision.models.detection.ssd import SSD  # noqa: PLC0415

    return isinstance(module, FCOS | RetinaNet | SSD)


def has_regions(module: nn.Module) -> bool:
    """Whether it classifies regions one by one."""
    heads = getattr(module, "roi_heads", None)
    return all(isinstance(getattr(heads, part, None), nn.Module) for part in ("box_head", "box_predictor"))


def region_dim(module: nn.Module) -> int:
    """Length of the embedding of a region."""
    predictor = module.get_submodule("roi_heads.box_predictor")
    linear = next(layer for layer in predictor.modules() if isinstance(layer, nn.Linear))
    return linear.in_features


def stated_normalization(transform: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Channel means and deviations of a transform; None if it states none."""
    mean, std = (getattr(transform, field, None) for field in ("image_mean", "image_std"))
    return None if mean is None or std is None else (tuple(mean), tuple(std))


def competes_with_background(module: nn.Module) -> bool:
    """Whether classes and background share a softmax, as in SSD."""
    from torchvision.models.detection.ssd import SSD  # noqa: PLC0415

    return isinstance(module, SSD)
