"""The parts together: boxes read from a folder, a detector trained on them, its detections measured."""

import torch

from persistill import metrics
from persistill.config import Data
from persistill.data import BoxAugmentation, Loader, load_boxes, measure_normalization
from persistill.models import build
from persistill.structures import unpack_objects
from persistill.utils.progress import Silent

SIDE = 64


def test_a_detector_learns(write_squares, tmp_path):
    folder = write_squares(tmp_path / "squares", 72)
    splits = load_boxes(Data(source=folder, size=(SIDE, SIDE), test=16), Silent()).splits
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
