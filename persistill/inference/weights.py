"""The student in a safetensors file, by torch."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from persistill import models
from persistill.errors import UserError
from persistill.exporters import as_outputs, as_student
from persistill.inference.onnx_model import Outputs


def open_weights(file: Path, model: str | None) -> tuple[dict[str, Any], Outputs]:
    """What a file says of its student, and the student: images (B, C, H, W) in [0, 1] -> its outputs.

    Those of a detector are boxes, scores and labels of one image.

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
    if isinstance(network, models.Detector):
        about["task"] = "detection"  # whatever file of weights it is
    student = as_student(network, about)

    def outputs(images: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in as_outputs(student(torch.from_numpy(images))))

    return about, outputs
