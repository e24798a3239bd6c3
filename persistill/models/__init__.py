"""Networks that return ``Features``, and one table of their names."""

from persistill.models.adapter import Adapted, adapt, plain
from persistill.models.bottleneck import BottleneckResNet
from persistill.models.initial import check_initial, normalisation_of, start_from, usual_normalisation
from persistill.models.mobilenet import MobileNetV2
from persistill.models.network import Network
from persistill.models.published import PRETRAINED, Published, find_published
from persistill.models.resnet import ResNet
from persistill.models.shufflenet import ShuffleNetV1, ShuffleNetV2
from persistill.models.table import NAMES, build, check
from persistill.models.vgg import VGG
from persistill.models.weights import load, load_into, refuse_pickle, save
from persistill.models.wrn import WideResNet

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
    "normalisation_of",
    "plain",
    "refuse_pickle",
    "save",
    "start_from",
    "usual_normalisation",
]
