"""Networks that return ``ModelOutput``, and a registry of their names."""

from persistill.models.base import Network, find_classifier
from persistill.models.checkpoint import load, load_into, open_network, read_checkpoint, refuse_pickle, save
from persistill.models.cifar.mobilenet_v2 import MobileNetV2
from persistill.models.cifar.resnet import ResNet
from persistill.models.cifar.resnet50 import BottleneckResNet
from persistill.models.cifar.shufflenet import ShuffleNetV1, ShuffleNetV2
from persistill.models.cifar.vgg import VGG
from persistill.models.cifar.wide_resnet import WideResNet
from persistill.models.detection.detector import Detector, skip_detections
from persistill.models.detection.drawn_samples import samples_by_image
from persistill.models.detection.image_batch import batch_images
from persistill.models.detection.inherit import inherit_head
from persistill.models.detection.output import DenseLevel, DetectionOutput
from persistill.models.feature_extraction.mode_probe import probe_modes
from persistill.models.feature_extraction.wrapper import AdaptedNetwork, adapt, unwrap
from persistill.models.initial_weights import (
    check_initial,
    initial_normalization,
    library_normalization,
    load_initial_weights,
)
from persistill.models.input_adapter import ImageFormat, InputAdapter
from persistill.models.pretrained import PRETRAINED, PretrainedWeights, find_pretrained
from persistill.models.projected import ProjectedClassifier
from persistill.models.registry import NAMES, build, check, is_user_code
from persistill.models.trained_network import TrainedNetwork, adapt_input, read_trained, stored_format

__all__ = [
    "NAMES",
    "PRETRAINED",
    "VGG",
    "AdaptedNetwork",
    "BottleneckResNet",
    "DenseLevel",
    "DetectionOutput",
    "Detector",
    "ImageFormat",
    "InputAdapter",
    "MobileNetV2",
    "Network",
    "PretrainedWeights",
    "ProjectedClassifier",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "TrainedNetwork",
    "WideResNet",
    "adapt",
    "adapt_input",
    "batch_images",
    "build",
    "check",
    "check_initial",
    "find_classifier",
    "find_pretrained",
    "inherit_head",
    "initial_normalization",
    "is_user_code",
    "library_normalization",
    "load",
    "load_initial_weights",
    "load_into",
    "open_network",
    "probe_modes",
    "read_checkpoint",
    "read_trained",
    "refuse_pickle",
    "samples_by_image",
    "save",
    "skip_detections",
    "stored_format",
    "unwrap",
]
