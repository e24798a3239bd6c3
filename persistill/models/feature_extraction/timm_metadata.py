"""What timm's networks state about themselves. Nothing here imports timm: other networks may state it too."""

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from persistill.models.feature_extraction.feature_layout import Layout, Size, infer_layout
from persistill.models.feature_extraction.trace import BATCH


def feature_info(module: nn.Module) -> list[dict[str, Any]]:
    """Modules worth tapping, each a dictionary with "module", "num_chs" and "reduction"; empty if nothing is stated."""
    info = getattr(module, "feature_info", None)
    entries = info if isinstance(info, list) else []
    whole = all(isinstance(entry, dict) and {"module", "num_chs", "reduction"} <= entry.keys() for entry in entries)
    return entries if whole else []


def classifier(module: nn.Module) -> str | None:
    """Path of the classifier, the first of several; None if nothing is stated."""
    return next(iter(paths(module, "classifier")), None)


def paths(module: nn.Module, field: Literal["classifier", "first_conv"]) -> tuple[str, ...]:
    """Paths of all classifiers, or of all convolutions that see the image; empty if nothing is stated."""
    config = getattr(module, "pretrained_cfg", None)
    found = config.get(field) if isinstance(config, dict) else None
    several = found if isinstance(found, tuple | list) else (found,)
    return tuple(path for path in several if isinstance(path, str))


def layout(module: nn.Module, path: str, shape: Sequence[int], image: Size) -> Layout | None:
    """The layout by the channels and extra tokens that the network states, and without these if they are wrong.

    Stated tokens are not in every block: some networks add the class token halfway.

    Args:
        module: the network.
        path: of the module that returned the tensor.
        shape: of the tensor, in the probe.
        image: height and width of the image that went in.
    """
    if shape[0] != BATCH:
        return None  # windows or patches, stacked along the batch
    channels = {entry["module"]: entry["num_chs"] for entry in feature_info(module)}.get(path)
    tokens = getattr(module, "num_prefix_tokens", None)
    stated = infer_layout(shape, image, channels, tokens if isinstance(tokens, int) else None)
    return stated or infer_layout(shape, image)
