"""The script that travels with an exported segmentation."""

SEGMENT = '''\
"""Color what images show with model.onnx:   pip install numpy pillow onnxruntime;   python segment.py IMAGE..."""
import colorsys, json, pathlib, sys
import numpy as np, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(str(pathlib.Path(__file__).with_name("model.onnx")))
about = json.loads(session.get_modelmeta().custom_metadata_map["persistill"])
channels, height, width = about["input"]["shape"][1:]
colors = [colorsys.hsv_to_rgb(0.618 * i % 1, 0.6, 0.9 - 0.2 * (i % 3)) for i in range(len(about["classes"]))]
for path in sys.argv[1:]:
    image = ImageOps.exif_transpose(Image.open(path)).convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.float32).reshape(height, width, channels).transpose(2, 0, 1)[None] / 255
    classes = session.run(None, {"image": pixels})[0][0].argmax(0).astype(np.uint8)
    mask = Image.fromarray(classes)
    mask.putpalette((255 * np.array(colors)).astype(np.uint8).tobytes())
    mask.save(pathlib.Path(path).with_suffix(".mask.png"))
    shares = {name: float((classes == i).mean()) for i, name in enumerate(about["classes"])}
    print(path, ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005))
'''
