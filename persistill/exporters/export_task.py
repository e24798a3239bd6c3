"""What an export must know of a task: how files are compared, and the script that travels with them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ExportTask:
    """The part of a task that an export needs.

    Attributes:
        name: of the task, stands in model.json.
        figure: name of what ``score`` measures; in the result of an export it stands under this name.
        score: logits (N, K, *) and targets (N, *) -> a fraction, of which more is better.
        script: file name of the script that shows how to run the ONNX file without persistill and without torch.
        script_text: its content.
        compared: test images that every file answers.
    """

    name: str
    figure: str
    score: Callable[[Tensor, Tensor], float]
    script: str
    script_text: str
    compared: int = 512


def _accuracy(logits: Tensor, target: Tensor) -> float:
    return float((logits.argmax(1) == target).double().mean())


CLASSIFY = ExportTask(
    "classification",
    "accuracy",
    _accuracy,
    "classify.py",
    '''\
"""Classify images with model.onnx:   pip install numpy pillow onnxruntime;   python classify.py IMAGE..."""
import json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("model.onnx")))
about = json.loads(session.get_modelmeta().custom_metadata_map["persistill"])
channels, height, width = about["input"]["shape"][1:]
for path in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(path)).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    image = np.asarray(image, np.float32).reshape(height, width, channels).transpose(2, 0, 1)[None] / 255
    logits = session.run(None, {"image": image})[0][0] / about["temperature"]
    confidence = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    print(path, about["classes"][confidence.argmax()], f"{confidence.max():.1%}")
''',
)
"""One class an image."""
