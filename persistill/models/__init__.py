"""Networks that return ``Features``, and one table of their names."""

from persistill.models.adapter import Adapted, adapt, plain
from persistill.models.mobilenet import MobileNetV2
from persistill.models.network import Network
from persistill.models.resnet import ResNet
from persistill.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from persistill.models.table import NAMES, build, check
from persistill.models.vgg import VGG
from persistill.models.weights import load, load_into, save
from persistill.models.wrn import WideResNet

__all__ = [
    "NAMES",
    "VGG",
    "Adapted",
    "MobileNetV2",
    "Network",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "WideResNet",
    "adapt",
    "build",
    "check",
    "load",
    "load_into",
    "plain",
    "save",
]
