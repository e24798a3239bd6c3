"""Boxes in full precision where the rest of a detector runs in half: coordinates above 256 have no exact bfloat16."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_GENERATORS = ("anchor_generator", "rpn.anchor_generator")
_HEADS = ("head", "rpn.head", "roi_heads.box_predictor")


@contextlib.contextmanager
def exact_boxes(module: nn.Module) -> Iterator[None]:
    """Have the anchors and head outputs of a detector of torchvision's be float32 while this context lasts.

    torchvision makes anchors in the type of the feature maps, and brings boxes to the type of the head's outputs.

    Args:
        module: the detector.
    """
    present = dict(module.named_modules())
    with contextlib.ExitStack() as hooks:
        for name in _GENERATORS:
            if name in present:
                hooks.callback(present[name].register_forward_pre_hook(_full_precision_maps).remove)
        for name in _HEADS:
            if name in present:
                hooks.callback(present[name].register_forward_hook(_full_precision_outputs).remove)
        yield


def _full_precision_maps(_: nn.Module, given: Any) -> Any:
    images, maps = given
    # Shapes, type and device are looked at, and no value.
    return images, [one.new_empty((), dtype=torch.float32).expand(one.shape) for one in maps]


def _full_precision_outputs(_: nn.Module, __: Any, output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {name: _full_precision_outputs(_, __, value) for name, value in output.items()}
    return type(output)(_full_precision_outputs(_, __, value) for value in output)
