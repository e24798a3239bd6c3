"""The script that travels with a student: how to run it without persistill and without torch."""

EXAMPLE = "classify.py"

_TEXT = '''\
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
'''


def text() -> str:
    """The script."""
    return _TEXT
