"""Logits of an exported ONNX file, by ONNX Runtime and NumPy alone."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistill.errors import UserError

Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Images (B, C, H, W) in [0, 1] -> logits (B, K), or (B, K, H, W) of a student of pixels."""


def installed() -> bool:
    """Whether ONNX files can be read here."""
    return importlib.util.find_spec("onnxruntime") is not None


def open_onnx(file: Path) -> tuple[dict[str, Any], Logits]:
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
        config = json.loads(session.get_modelmeta().custom_metadata_map["persistill"])
        about = {
            "classes": config["classes"],
            "shape": config["input"]["shape"][1:],
            "task": config.get("task", "classification"),
            "preprocessing": config["input"].get("preprocessing"),
        }
    except (KeyError, json.JSONDecodeError):
        raise UserError(
            f"{file} is an ONNX file, but not one that persistill wrote: it does not name its classes. Give the "
            "model.onnx of an export."
        ) from None
    if config.get("temperature", 1.0) != 1.0:  # 1 stands for none
        about["temperature"] = config["temperature"]

    def logits(images: NDArray[np.float32]) -> NDArray[np.float32]:
        answered: NDArray[np.float32] = session.run(["logits"], {"image": images})[0]
        return answered

    return about, logits
