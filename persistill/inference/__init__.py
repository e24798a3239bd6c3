"""A trained student is asked about images. Exported ONNX files are asked without torch, and so at once."""

from persistill.inference.image_files import ImagePrediction, UnreadableImage, find_images, predict_files, search_images
from persistill.inference.masks import MaskPrediction, write_masks
from persistill.inference.predictor import ClassProbability, Prediction, Predictor, load

__all__ = [
    "ClassProbability",
    "ImagePrediction",
    "MaskPrediction",
    "Prediction",
    "Predictor",
    "UnreadableImage",
    "find_images",
    "load",
    "predict_files",
    "search_images",
    "write_masks",
]
