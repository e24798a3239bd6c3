"""An exported ONNX file, by ONNX Runtime and NumPy alone."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill import schemas
from persistill.errors import UserError
from persistill.utils.strict_json import decode_json

Outputs = Callable[[NDArray[np.float32]], tuple[NDArray[Any], ...]]
"""Images (B, C, H, W) in [0, 1] -> the logits (B, K), or (B, K, H, W) of a student of pixels; of a detector boxes and
scores of all places of the images, or boxes, scores and labels that were found in one image."""


def installed() -> bool:
    """Whether ONNX files can be read here."""
    return importlib.util.find_spec("onnxruntime") is not None


def open_onnx(file: Path) -> tuple[dict[str, Any], Outputs]:
    """What a file says of its student ("classes", "shape", and "temperature" where one was fitted), and the student.

    Raises:
        UserError: if ONNX Runtime is not installed, the file is damaged, or persistill did not write it.
    """
    if not installed():
        raise UserError(
            f'{file} needs ONNX Runtime, which is not installed: pip install "persistill[onnx]". Or give '
            "model.safetensors."
        )
    import onnxruntime  # noqa: PLC0415 - of an extra

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised as well
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its errors have no common class
        raise UserError(f"{file} cannot be read as ONNX; it is damaged or cut short ({error}).") from None
    try:
        config = decode_json(session.get_modelmeta().custom_metadata_map["persistill"])
    except (KeyError, ValueError):
        raise UserError(
            f"{file} is an ONNX file, but not one that persistill wrote: it does not name its classes. Give the "
            "model.onnx of an export."
        ) from None
    schemas.check(schemas.ExportedStudent, config, f"the metadata of {file}", "Export the network again.")
    about = {
        "classes": config["classes"],
        "shape": config["input"]["shape"][1:],
        "task": config.get("task", "classification"),
        "preprocessing": config["input"].get("preprocessing"),
        "selection": config.get("selection"),
    }
    if config.get("temperature", 1.0) != 1.0:  # 1 stands for none
        about["temperature"] = config["temperature"]

    asked = None if about["task"] == "detection" else ["logits"]  # detectors answer with two or three arrays

    def outputs(images: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        try:
            return tuple(session.run(asked, {"image": images}))
        except Exception as error:  # its errors have no common class
            raise UserError(
                f"{file} cannot answer ({str(error)[:200]}): it was changed since it was written. Export the network "
                "again."
            ) from error

    return about, outputs
