"""The exported student as a module: images in [0, 1] in, logits out, or the objects in an image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from persistill import models
from persistill.errors import UserError
from persistill.exporters.detector_student import DetectorStudent

WEIGHTS = "model.safetensors"


class Student(nn.Module):
    """A network with its normalization in front, and the logits alone behind.

    Args:
        network: returns ``ModelOutput``.
        mean: of each channel, of images in [0, 1].
        std: likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Classify images.

        Args:
            image: (B, C, H, W) float32 in [0, 1].

        Returns:
            Logits (B, K).
        """
        logits: Tensor = self.network((image - self.mean) / self.std).logits
        return logits


def as_student(network: models.Network, about: Mapping[str, Any]) -> Student | DetectorStudent:
    """A network as it is exported, in evaluation mode.

    Args:
        network: of any task.
        about: "mean" and "std" of each channel, of images in [0, 1].
    """
    if isinstance(network, models.Detector):
        return DetectorStudent(network, about).eval()
    return Student(network, about["mean"], about["std"]).eval()


def load_student(folder: Path, model: str | None = None) -> Student | DetectorStudent:
    """Load an exported student, on the CPU and in evaluation mode; of a detector a ``DetectorStudent``.

    ``model.safetensors`` is enough: its header says which network it belongs to and how images are
    normalized.

    Args:
        folder: as ``export_student`` wrote it.
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.

    Raises:
        UserError: if the file is missing, cut short, not an exported student, or of another network than ``model``.
    """
    return read(folder / WEIGHTS, model)


def read(path: Path, model: str | None = None) -> Student | DetectorStudent:
    """Load the student in one file; see ``load_student``."""
    network, about = models.load(path, model)
    if "mean" not in about or "std" not in about:
        raise UserError(
            f"{path} does not say how images are normalized (mean, std): it is not an exported student. "
            "Export the run with persistill export."
        )
    return as_student(network, about)
