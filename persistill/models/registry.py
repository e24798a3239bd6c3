"""Networks by name: persistill's own, those of timm and torchvision, and user code."""

from collections.abc import Callable
from functools import partial

from persistill.errors import UserError, unknown
from persistill.models.base import Network
from persistill.models.cifar.mobilenet_v2 import MobileNetV2
from persistill.models.cifar.resnet import ResNet
from persistill.models.cifar.resnet50 import BottleneckResNet
from persistill.models.cifar.shufflenet import ShuffleNetV1, ShuffleNetV2
from persistill.models.cifar.vgg import VGG
from persistill.models.cifar.wide_resnet import WideResNet
from persistill.models.detection.detector import Detector
from persistill.models.detection.heads import HEADS
from persistill.models.detection.names import HeadName, check_width, split_head
from persistill.models.detection.stem import own_encoder
from persistill.models.detection.torchvision_detectors import (
    build_torchvision_detector,
    check_torchvision_detector,
    is_torchvision_detector,
)
from persistill.models.detection.torchvision_encoder import TorchvisionEncoder
from persistill.models.encoder import Encoder, OwnEncoder, TimmEncoder
from persistill.models.feature_extraction.feature_layout import Size
from persistill.models.libraries import build_timm, build_torchvision, check_timm, check_torchvision
from persistill.models.projected import ProjectedClassifier, split_projector
from persistill.models.segmentation.lraspp import LRASPP
from persistill.models.user_code import build_user_model, import_factory

_TABLE: dict[str, Callable[[int, int], Network]] = {
    "resnet-8": partial(ResNet, 8, 1),
    "resnet-14": partial(ResNet, 14, 1),
    "resnet-20": partial(ResNet, 20, 1),
    "resnet-32": partial(ResNet, 32, 1),
    "resnet-44": partial(ResNet, 44, 1),
    "resnet-56": partial(ResNet, 56, 1),
    "resnet-110": partial(ResNet, 110, 1),
    "resnet-8x4": partial(ResNet, 8, 4),
    "resnet-32x4": partial(ResNet, 32, 4),
    "resnet-50-bottleneck": BottleneckResNet,
    "wrn-10-1": partial(WideResNet, 10, 1),
    "wrn-10-2": partial(WideResNet, 10, 2),
    "wrn-10-3": partial(WideResNet, 10, 3),
    "wrn-16-1": partial(WideResNet, 16, 1),
    "wrn-16-2": partial(WideResNet, 16, 2),
    "wrn-16-3": partial(WideResNet, 16, 3),
    "wrn-16-4": partial(WideResNet, 16, 4),
    "wrn-16-5": partial(WideResNet, 16, 5),
    "wrn-16-6": partial(WideResNet, 16, 6),
    "wrn-16-8": partial(WideResNet, 16, 8),
    "wrn-28-1": partial(WideResNet, 28, 1),
    "wrn-28-3": partial(WideResNet, 28, 3),
    "wrn-28-6": partial(WideResNet, 28, 6),
    "wrn-40-1": partial(WideResNet, 40, 1),
    "wrn-40-2": partial(WideResNet, 40, 2),
    "wrn-40-3": partial(WideResNet, 40, 3),
    "vgg-8": partial(VGG, 8),
    "vgg-13": partial(VGG, 13),
    "mobilenet-v2-half": MobileNetV2,
    "shufflenet-v1": ShuffleNetV1,
    "shufflenet-v2": ShuffleNetV2,
}

NAMES = tuple(_TABLE)
"""Persistill's own classifiers. Others: "timm/NAME", "torchvision/NAME", "package.module:function"."""

_DECODERS: dict[str, Callable[[str, Encoder, int], Network]] = {"lraspp": LRASPP}
"""Before the name of an encoder, as in "lraspp:timm/NAME" and "lraspp:wrn-16-1": networks that classify pixels."""

_LIBRARIES: dict[str, tuple[Callable[[str], None], Callable[[str, int, int, Size | None], Network]]] = {
    "timm": (check_timm, build_timm),
    "torchvision": (check_torchvision, build_torchvision),
}


def check(name: str) -> None:
    """Check that ``build`` knows a name, without building. A user's own module is imported, and so runs.

    Args:
        name: one of ``NAMES``, "timm/NAME", "torchvision/NAME" or "package.module:function"; or "lraspp:ENCODER",
            "fcos:ENCODER", "retinanet:ENCODER" or "faster-rcnn:ENCODER".

    Raises:
        UserError: if there is no network of that name, with close matches.
    """
    decoder, encoder = split_decoder(name)
    if decoder:
        head = split_head(name)
        if head is not None:
            check_width(head)
        if encoder.startswith("timm/"):
            check_timm(encoder.removeprefix("timm/"))
        elif head is not None and encoder.startswith("torchvision/"):
            check_torchvision(encoder.removeprefix("torchvision/"))
        elif encoder not in _TABLE:
            raise unknown(f"encoder for {decoder}", encoder, NAMES, f"Or one of timm: {decoder}:timm/NAME.")
        return
    library, _, rest = name.partition("/")
    if library == "torchvision" and is_torchvision_detector(rest):
        check_torchvision_detector(rest)
    elif library in _LIBRARIES and rest:
        _LIBRARIES[library][0](rest)
    elif is_user_code(name):
        import_factory(name)
    elif name not in _TABLE:
        homes = [f"{other}/{name}" for other in _LIBRARIES if _knows(other, name)]
        exists = f" There {'is' if len(homes) == 1 else 'are'} {' and '.join(homes)}." if homes else ""
        raise unknown("model", name, NAMES, f"Others: timm/NAME, torchvision/NAME, package.module:function.{exists}")


def build(name: str, in_channels: int, num_classes: int, image_size: Size | None = None) -> Network:
    """Build a network with random weights, from torch's global generator. Nothing is downloaded.

    Args:
        name: one of ``NAMES``, "timm/NAME", "torchvision/NAME", or "package.module:function" for a function or class
            that is called with ``in_channels`` and ``num_classes`` (and ``image_size``, if it takes that) and returns
            any ``nn.Module``, or what ``adapt`` makes of one. "lraspp:" before one of ``NAMES`` or "timm/NAME" for a
            network that classifies every pixel, with that one as its encoder; "fcos:", "retinanet:" or "faster-rcnn:"
            before one of these or "torchvision/NAME" for a detector (``detection.detector.Detector``), "fcos-64:" for
            one with levels of 64 channels. "+projector-CHANNELS-REDUCTION" behind
            a name for the student that SimKD makes of it (``ProjectedClassifier``).
        in_channels: channels of the images, 1 or more.
        num_classes: number of classes, 2 or more; a detector can do with one.
        image_size: height and width of the images. Persistill's own networks take any. Others are built for it where
            they must be, and traced with it; None for the size that timm or torchvision state, or 32x32.

    Raises:
        UserError: if there is no network of that name, with close matches, a number is out of range, or the network
            does not fit such images.
    """
    alone, projector = split_projector(name)
    if projector is not None and split_projector(alone)[1] is None:
        return ProjectedClassifier(build(alone, in_channels, num_classes, image_size), projector)
    check(name)
    head = split_head(name)
    library, _, rest = name.partition("/")
    detects = head is not None or (library == "torchvision" and is_torchvision_detector(rest))
    least = 1 if detects else 2
    if in_channels < 1 or num_classes < least:
        raise UserError(
            f"model {name!r} needs 1 or more channels and {least} or more classes; "
            f"{in_channels} channels and {num_classes} classes were given."
        )
    if head is not None:
        return _build_detector(name, head, in_channels, num_classes, image_size)
    decoder, encoder = split_decoder(name)
    if decoder:
        made: Encoder
        if encoder in _TABLE:
            made = OwnEncoder(_TABLE[encoder](in_channels, num_classes))
        else:
            made = TimmEncoder(encoder.removeprefix("timm/"), in_channels, image_size)
        return _DECODERS[decoder](name, made, num_classes)
    if name in _TABLE:
        return _TABLE[name](in_channels, num_classes)
    if is_user_code(name):
        return build_user_model(name, in_channels, num_classes, image_size)
    if detects:
        return build_torchvision_detector(rest, in_channels, num_classes, image_size)
    return _LIBRARIES[library][1](rest, in_channels, num_classes, image_size)


def is_user_code(name: str) -> bool:
    """Whether a name is that of a user's own code, "package.module:function", which runs when the network is built."""
    return ":" in name and "/" not in name and not split_decoder(name)[0]


def split_decoder(name: str) -> tuple[str, str]:
    """The decoder and the encoder in a name, "lraspp" and "wrn-16-1" in "lraspp:wrn-16-1"; "" and the name without.

    The heads of detectors count as decoders.
    """
    head = split_head(name)
    if head is not None:
        return head.head, head.encoder
    decoder, _, encoder = name.partition(":")
    return (decoder, encoder) if decoder in _DECODERS else ("", name)


def _build_detector(name: str, head: HeadName, in_channels: int, num_classes: int, image_size: Size | None) -> Detector:
    encoder: Encoder
    if head.encoder in _TABLE:
        encoder = own_encoder(lambda channels: _TABLE[head.encoder](channels, num_classes), in_channels)
    elif head.encoder.startswith("timm/"):
        encoder = TimmEncoder(head.encoder.removeprefix("timm/"), in_channels, image_size, last_stride=None)
    else:
        encoder = TorchvisionEncoder(head.encoder.removeprefix("torchvision/"), in_channels, image_size)
    module = HEADS[head.head](encoder, head.channels, 1 + num_classes)
    detector = Detector(name, module, in_channels, num_classes, image_size or encoder.image_size)
    detector.image_size = encoder.image_size
    detector.normalization = None  # torchvision's default, and not what this encoder was trained with
    return detector


def _knows(library: str, name: str) -> bool:
    try:
        _LIBRARIES[library][0](name)
    except UserError:
        return False
    return True
