"""The parts together: boxes read from a folder, a detector trained on them, its detections measured."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from persistill import metrics
from persistill.config import Data
from persistill.data import BoxAugmentation, Loader, load_boxes, measure_normalization
from persistill.models import build
from persistill.structures import unpack_objects
from persistill.utils.progress import Silent

SIDE = 64
COLORS = ("red", "blue")


def write_squares(folder, count):
    """One or two squares on gray noise an image, in the layout of YOLO."""
    draws = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        image = Image.fromarray(draws.integers(90, 150, (SIDE, SIDE, 3), dtype=np.uint8))
        lines = []
        for left in (0, 32)[: 1 + number % 2]:
            side = int(draws.integers(14, 26))
            x, y = left + int(draws.integers(0, 32 - side)), int(draws.integers(0, SIDE - side))
            color = int(draws.integers(2))
            ImageDraw.Draw(image).rectangle((x, y, x + side - 1, y + side - 1), fill=COLORS[color])
            lines.append(f"{color} {(x + side / 2) / SIDE} {(y + side / 2) / SIDE} {side / SIDE} {side / SIDE}")
        image.save(folder / "images" / f"{number:03}.png")
        (folder / "labels" / f"{number:03}.txt").write_text("\n".join(lines))
    (folder / "classes.txt").write_text("\n".join(COLORS))


def test_a_detector_learns(tmp_path):
    write_squares(tmp_path / "squares", 72)
    splits = load_boxes(Data(source=str(tmp_path / "squares"), size=(SIDE, SIDE), test=16), Silent()).splits
    mean, std = measure_normalization(splits.train)
    common = {"batch_size": 8, "mean": mean, "std": std}
    loader = Loader(splits.train, {}, **common, shuffle_seed=0, augment=(BoxAugmentation("flip"),), drop_last=True)
    torch.manual_seed(0)
    detector = build("fcos:resnet-8", 3, 2).train()
    optimizer = torch.optim.AdamW(detector.parameters(), lr=3e-3)
    for epoch in range(12):
        for batch in loader.epoch(epoch):
            loss = sum(detector(batch.inputs["image"], unpack_objects(batch.target)).losses.values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
            optimizer.step()
    found, truth = [], []
    detector.eval()
    with torch.no_grad():
        for batch in Loader(splits.test, {}, **common, shuffle_seed=None).epoch(0):
            found += detector(batch.inputs["image"]).detections
            truth += unpack_objects(batch.target)
    figures = metrics.coco_figures(metrics.match_detections(found, truth, 2))

    assert figures["ap50"] > 0.3
