"""The script that travels with an exported segmentation."""

from persistill.exporters import standalone_script
from persistill.utils.image_files import DRAWN_MASKS

SEGMENT = standalone_script(
    "Color what images show with model.onnx:   pip install numpy pillow onnxruntime;   python segment.py IMAGE...",
    """\
import colorsys

colors = [colorsys.hsv_to_rgb(0.618 * i % 1, 0.6, 0.9 - 0.2 * (i % 3)) for i in range(len(about["classes"]))]
for path, pixels in readable_images(sys.argv[1:]):
    classes = session.run(None, {"image": np.float32(pixels[None]) / 255})[0][0].argmax(0).astype(np.uint8)
    mask = Image.fromarray(classes)
    mask.putpalette((255 * np.array(colors)).astype(np.uint8).tobytes())
    mask.save(place_beside(path))
    shares = {name: float((classes == i).mean()) for i, name in enumerate(about["classes"])}
    print(path, ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005))
""",
    writes=DRAWN_MASKS,
)
