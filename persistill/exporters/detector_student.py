"""Exported detectors as modules: images in [0, 1] in, boxes and scores out."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from persistill.models import Detector
from persistill.models.detection.dense_decoder import DenseDecoder
from persistill.models.detection.image_batch import GivenImages, to_image_list


class DetectorStudent(nn.Module):
    """A detector with its normalization in front, and the detections of one image behind.

    Args:
        detector: of any kind.
        about: "mean" and "std" of each channel, of images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: Detector, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.detector = detector
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(about[name], dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find objects.

        Args:
            image: (1, C, H, W) float32 in [0, 1].

        Returns:
            Boxes (n, 4), x1, y1, x2, y2 in pixels of the image; scores (n,), falling; class numbers (n,) int64, from 0.
        """
        batch = to_image_list((image - self.mean) / self.std)
        # Not through the detector's own forward, whose levels nobody asks for here, and the exporter cannot record.
        found = self.detector.module(GivenImages(batch), None)[0]
        objects = found["labels"] > 0  # 0 stands for the background
        return found["boxes"][objects], found["scores"][objects], found["labels"][objects] - 1


class DenseStudent(nn.Module):
    """A dense detector with its normalization in front, and the boxes and scores of all places behind.

    Args:
        detector: one that ``DenseDecoder`` knows.
        about: "mean", "std" and "shape" (C, H, W) of the images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, detector: Detector, about: Mapping[str, Any]) -> None:
        super().__init__()
        _, height, width = about["shape"]
        self.decoder = DenseDecoder(detector, (height, width))
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(about[name], dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and scores at all places.

        Args:
            image: (B, C, H, W) float32 in [0, 1].

        Returns:
            Boxes (B, N, 4), x1, y1, x2, y2 in pixels of the image; scores (B, N, K) in [0, 1].
        """
        boxes, scores = self.decoder((image - self.mean) / self.std)
        return boxes, scores
