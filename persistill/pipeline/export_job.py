"""A trained network leaves the house: which images its files are compared and calibrated on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from persistill import exporters, models
from persistill.data import ImageDataset, Splits

COMPARED, CALIBRATING = 512, 256
"""Test images that every file answers, and training images on which int8 ranges are measured."""


def hand_over(
    network: models.Network,
    about: Mapping[str, Any],
    splits: Splits,
    folder: Path,
    for_int8: models.Network | None = None,
) -> dict[str, Any]:
    """Write a trained network in all formats, compared on test images, int8 calibrated on training images.

    Args:
        network: sees images.
        about: from its weights file.
        splits: the images that it was trained on.
        folder: exists, and receives the files.
        for_int8: a copy of it that was trained on for the int8 file.

    Returns:
        What ``exporters.export_student`` returns.
    """
    compared, calibrating = _spread(splits.test, COMPARED), _spread(splits.train, CALIBRATING)
    return exporters.export_student(
        network,
        about,
        splits.test.fetch(compared).cpu(),
        folder,
        targets=splits.test.targets.cpu()[compared],
        calibration=splits.train.fetch(calibrating).cpu(),
        for_int8=for_int8,
    )


def _spread(images: ImageDataset, most: int) -> Tensor:
    """Evenly spaced positions."""
    count = min(most, len(images))
    return torch.arange(count) * len(images) // count
