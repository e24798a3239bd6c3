"""Networks that return ``ModelOutput``, and one table of their names."""

from persistill.models.base import Network
from persistill.models.checkpoint import load, load_into, refuse_pickle, save
from persistill.models.cifar.mobilenet_v2 import MobileNetV2
from persistill.models.cifar.resnet import ResNet
from persistill.models.cifar.resnet50 import BottleneckResNet
from persistill.models.cifar.shufflenet import ShuffleNetV1, ShuffleNetV2
from persistill.models.cifar.vgg import VGG
from persistill.models.cifar.wide_resnet import WideResNet
from persistill.models.feature_extraction.wrapper import Adapted, adapt, plain
from persistill.models.initial_weights import check_initial, normalization_of, start_from, usual_normalization
from persistill.models.pretrained import PRETRAINED, Published, find_published
from persistill.models.registry import NAMES, build, check

__all__ = [
    "NAMES",
    "PRETRAINED",
    "VGG",
    "Adapted",
    "BottleneckResNet",
    "MobileNetV2",
    "Network",
    "Published",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "WideResNet",
    "adapt",
    "build",
    "check",
    "check_initial",
    "find_published",
    "load",
    "load_into",
    "normalization_of",
    "plain",
    "refuse_pickle",
    "save",
    "start_from",
    "usual_normalization",
]
