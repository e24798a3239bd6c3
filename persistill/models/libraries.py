"""Networks of timm and torchvision by name, with fresh weights; nothing is downloaded."""

import inspect
from typing import Any

from torch import nn

from persistill.errors import UserError, unknown
from persistill.models.feature_extraction.default_layers import default_layers
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.feature_extraction.trace import trace
from persistill.models.feature_extraction.wrapper import AdaptedNetwork, adapt

# timm and torchvision are imported where they are used: together they take seconds, which who uses neither is spared.


def check_timm(name: str) -> None:
    """Say whether timm knows a network.

    Args:
        name: as timm writes it, "resnet50"; a tag of pretrained weights behind it ("resnet50.a1_in1k") decides nothing
            but the default size of images.

    Raises:
        UserError: if it is unknown, with the near names.
    """
    import timm  # noqa: PLC0415

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or any(sign in name for sign in "/:"):
        raise unknown("timm model", name, timm.list_models(), "timm.list_models() lists them all.", listed=False)
    tagged = timm.list_models(f"{architecture}.*", pretrained=True) if tag else [name]
    if name not in tagged:
        raise unknown("timm model", name, [architecture, *tagged], f"Without a tag: {architecture!r}.", listed=False)


def build_timm(name: str, in_channels: int, num_classes: int, image_size: Size | None) -> AdaptedNetwork:
    """A network of timm. Those that are made for one size of image are made for this one.

    Args:
        name: as timm writes it.
        in_channels: channels of the images.
        num_classes: number of classes.
        image_size: height and width of the images; None for the size that timm states.

    Raises:
        UserError: if the network is unknown, or cannot be made for such images.
    """
    import timm  # noqa: PLC0415

    check_timm(name)
    config = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    size = image_size or (config.input_size[1], config.input_size[2])
    options = {"img_size": size} if config.fixed_input_size else {}
    module = _make(
        f"timm/{name}", size, timm.create_model, name, in_chans=in_channels, num_classes=num_classes, **options
    )
    return adapt(module, in_channels, num_classes, image_size=size, name=f"timm/{name}")


def check_torchvision(name: str) -> None:
    """Say whether torchvision knows a network that classifies images or their pixels.

    Raises:
        UserError: if it is unknown, with the near names.
    """
    from torchvision import models  # noqa: PLC0415

    known = [*models.list_models(module=models), *models.list_models(module=models.segmentation)]
    if name not in known:
        known += models.list_models(module=models.detection)
        raise unknown(
            "torchvision model", name, known, "torchvision.models.list_models() lists them all.", listed=False
        )


def build_torchvision(name: str, in_channels: int, num_classes: int, image_size: Size | None) -> AdaptedNetwork:
    """A network of torchvision that classifies images or, as deeplabv3_resnet50 does, their pixels; no auxiliary heads.

    torchvision's networks see three channels. For another number the first convolution gives way to one that is like
    it but for its channels, with PyTorch's default weights.

    Args:
        name: as torchvision writes it, "resnet18".
        in_channels: channels of the images.
        num_classes: number of classes.
        image_size: height and width of the images; None for 224x224, and 299x299 for inception_v3.

    Raises:
        UserError: if the network is unknown, or cannot be made for such images.
    """
    from torchvision import models  # noqa: PLC0415

    check_torchvision(name)
    native = 299 if name == "inception_v3" else 224
    size = image_size or (native, native)
    options: dict[str, Any]
    segments = name in models.list_models(module=models.segmentation)
    if segments:
        options = {"weights": None, "weights_backbone": None}  # which would be downloaded
        if not name.startswith("lraspp"):
            options["aux_loss"] = False
    elif name.startswith("vit_"):
        if size[0] != size[1]:
            raise UserError(f"torchvision/{name} takes square images; {size[0]}x{size[1]} were given.")
        options = {"image_size": size[0]}
    elif name.startswith("maxvit"):
        options = {"input_size": size}
    else:
        options = without_auxiliary_heads(name)
    module = _make(f"torchvision/{name}", size, models.get_model, name, num_classes=num_classes, **options)
    if in_channels != 3:
        replace_first_convolution(module, in_channels)
    layers = None
    if segments:  # the encoder's stages alone; the decoder has layers of the same strides
        backbone = module.get_submodule("backbone")
        calls, _ = trace(backbone, in_channels, size)
        layers = [f"backbone.{path}" for path in default_layers(backbone, calls, size)]
    return adapt(module, in_channels, num_classes, layers, image_size=size, name=f"torchvision/{name}")


def without_auxiliary_heads(name: str) -> dict[str, Any]:
    """Options of torchvision's classifiers, so that those which have auxiliary heads have none."""
    return {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}


def _make(name: str, size: Size, function: Any, *arguments: Any, **options: Any) -> nn.Module:
    try:
        made: nn.Module = function(*arguments, **options)
    except Exception as error:  # their ways to say that a size does not suit them are many
        raise UserError(
            f"{name} cannot be made for images of {size[0]}x{size[1]}: {type(error).__name__}: {error} Bring them "
            "to a size that it takes (data.size), often a multiple of 32."
        ) from error
    return made


def replace_first_convolution(module: nn.Module, in_channels: int) -> None:
    """Put a convolution with other input channels, and PyTorch's default weights, in the place of a module's first."""
    path, old = next((path, one) for path, one in module.named_modules() if isinstance(one, nn.Conv2d))
    taken = inspect.signature(nn.Conv2d).parameters.keys() - {"in_channels", "bias", "device", "dtype"}
    new = nn.Conv2d(in_channels, bias=old.bias is not None, **{name: getattr(old, name) for name in taken})
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, new)
