"""Logits of a safetensors file, by torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from persistill import models
from persistill.errors import UserError
from persistill.exporters import Student


def open_weights(
    file: Path, model: str | None
) -> tuple[dict[str, Any], Callable[[NDArray[np.float32]], NDArray[np.float32]]]:
    """What a file says of its student, and the student: images (B, C, H, W) in [0, 1] -> logits (B, K).

    Args:
        file: of a run or an export.
        model: the network's name, without which no code of somebody's own is run.

    Raises:
        UserError: if the file is damaged, is of a network that does not see images, or lacks what a student needs.
    """
    network, about = models.load(file, model)
    if about.get("view", "image") != "image":
        raise UserError(
            f"{file} does not see images but the view {about['view']!r} of them: it is a teacher, and not asked "
            "about images. Give a student."
        )
    if absent := [name for name in ("classes", "mean", "std", "shape") if about.get(name) is None]:
        raise UserError(
            f"{file} does not say its {', '.join(absent)}: it is not the weights file of a run or an export. Export "
            "the run of a student that persistill trained."
        )
    student = Student(network, about["mean"], about["std"]).eval()

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            answered: NDArray[np.float32] = student(torch.from_numpy(images)).numpy()
        return answered

    return about, logits
