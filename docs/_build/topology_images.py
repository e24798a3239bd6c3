"""Make the images of the topology pages from the two photographs that ship with scikit-learn.

    python docs/_build/topology_images.py docs/assets

Photographs by danielbuechele and vultilion, https://creativecommons.org/licenses/by/2.0/, cropped and made smaller.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

CROPS = {
    "flower": (1, (190, 30, 530, 370)),
    "petals": (1, (250, 100, 410, 260)),
    "roof": (0, (250, 60, 560, 370)),
    "trees": (0, (150, 150, 410, 410)),
}


def main(target: str) -> None:
    photographs = [Image.fromarray(photograph) for photograph in load_sample_images().images]
    with tempfile.TemporaryDirectory() as folder:
        images, output = Path(folder) / "images", Path(folder) / "topology"
        images.mkdir()
        for name, (number, box) in CROPS.items():
            small = photographs[number].crop(box).resize((48, 48), Image.Resampling.LANCZOS)
            small.save(images / f"{name}.png")
        command = ["persistill", "topology", str(images), "--out", str(output), "--explain", "flower.png"]
        subprocess.run(command, check=True)
        for made, kept in (("contact_sheet", "topology_sheet"), ("explain-flower", "topology_explain")):
            image = Image.open(output / f"{made}.png").convert("RGB").quantize(200)
            image.save(Path(target) / f"{kept}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
