"""What detectors lose in 8 bits, with the last convolutions of their heads in float32, as exported, and without.

    OMP_NUM_THREADS=1 python benchmarks/int8_detectors.py [--epochs 20] [--seed 0]

Both detectors learn to find one or two bright squares of two kinds on 72 noisy images of 64 x 64 pixels, and are
exported twice. Figures are of 40 other images: AP, and the share of boxes that a file and its checkpoint both find.
"""

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from persistill.exporters import export_student
from persistill.exporters.boxes import Boxes
from persistill.models import Detector, build
from persistill.structures import Objects, pack_objects
from persistill.tasks.detection.export import DETECT

NETWORKS = ("fcos:resnet-8", "retinanet:resnet-8")
TRAINED, TESTED, SIDE, BATCH = 72, 40, 64, 8
MEAN, STD = 0.3, 0.25


def squares(count: int, generator: torch.Generator) -> tuple[Tensor, list[Objects]]:
    """(count, 3, 64, 64) uint8 images, and the one or two squares on each: class 0 is red, class 1 is blue."""

    def drawn(least: int, beyond: int) -> int:
        return int(torch.randint(least, beyond, (), generator=generator))

    images = torch.randint(0, 90, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    objects = []
    for image in images:
        boxes, labels = [], []
        for half in range(drawn(1, 3)):  # in the left or the right half, so that they do not overlap
            side, label = drawn(12, 28), drawn(0, 2)
            x, y = half * SIDE // 2 + drawn(0, SIDE // 2 - side), drawn(0, SIDE - side)
            image[2 * label, y : y + side, x : x + side] = 220
            boxes.append([x, y, x + side, y + side])
            labels.append(label)
        no = torch.zeros(len(labels), dtype=torch.bool)
        objects.append(Objects(torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels), no, no))
    return images, objects


def trained(name: str, images: Tensor, objects: list[Objects], epochs: int, seed: int) -> Detector:
    """A detector that has seen all images in each epoch."""
    torch.manual_seed(seed)
    network = build(name, 3, 2, (SIDE, SIDE)).train()
    steps = epochs * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps, pct_start=0.1)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            inputs = (images[rows].float() / 255 - MEAN) / STD
            optimizer.zero_grad()
            sum(network(inputs, [objects[row] for row in rows]).losses.values()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            schedule.step()
    return network.eval()


def main() -> None:
    """Train, export and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(given.seed)
    images, objects = squares(TRAINED, generator)
    others, found_on = squares(TESTED, generator)
    about = {"classes": ["red", "blue"], "mean": [MEAN] * 3, "std": [STD] * 3, "shape": [3, SIDE, SIDE]}
    print(f"{'network':20} {'file':32} {'AP, %':>6} {'same boxes, %':>13}")
    for name in NETWORKS:
        network = trained(name, images, objects, given.epochs, given.seed)
        for label, in_float32 in (("last convolutions in float32", True), ("everything in 8 bits", False)):
            with tempfile.TemporaryDirectory() as folder, mock.patch.object(Boxes, "float_tail", in_float32):
                result = export_student(
                    network,
                    about,
                    others,
                    Path(folder),
                    targets=pack_objects(found_on),
                    calibration=images,
                    formats=("onnx", "nms", "program", "int8") if in_float32 else ("int8",),
                    task=DETECT,
                )
            if in_float32:
                print(f"{name:20} {'checkpoint':32} {100 * result['ap']['checkpoint']:6.1f}")
                for file in ("onnx", "nms", "program"):
                    score, same = result["ap"].get(file, float("nan")), result["agreement"].get(file, float("nan"))
                    print(f"{name:20} {file:32} {100 * score:6.1f} {100 * same:13.1f}")
            print(f"{name:20} {label:32} {100 * result['ap']['int8']:6.1f} {100 * result['agreement']['int8']:13.1f}")


if __name__ == "__main__":
    main()
