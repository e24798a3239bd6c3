"""A trained student is asked about images. Exported ONNX files are asked without torch, and so at once."""

from persistill.inference.found_objects import THRESHOLD, FoundObject
from persistill.inference.image_files import ImagePrediction, UnreadableImage, find_images, predict_files, search_images
from persistill.inference.masks import MaskPrediction, write_masks
from persistill.inference.objects import ImageObjects, find_in_files
from persistill.inference.predictor import ClassProbability, Prediction, Predictor, load

__all__ = [
    "THRESHOLD",
    "ClassProbability",
    "FoundObject",
    "ImageObjects",
    "ImagePrediction",
    "MaskPrediction",
    "Prediction",
    "Predictor",
    "UnreadableImage",
    "find_images",
    "find_in_files",
    "load",
    "predict_files",
    "search_images",
    "write_masks",
]
