"""On how many images an export works, and on how many at a time: fewer of large ones."""

import pytest
import torch

from persistill import models
from persistill.exporters import export_student, exporter
from persistill.pipeline.stages.export import count_calibrating

ABOUT = {"classes": ["cat", "dog"], "mean": [0.5] * 3, "std": [0.25] * 3, "shape": [3, 16, 16]}


class Images:
    """A thousand images of a size."""

    def __init__(self, *size: int) -> None:
        self.shape = (3, *size)

    def __len__(self) -> int:
        return 1000


@pytest.mark.parametrize(
    ("size", "count"), [((32, 32), 256), ((64, 64), 64), ((224, 224), 64), ((512, 512), 16), ((800, 1344), 8)]
)
def test_ranges_are_measured_on_as_many_images_as_memory_holds(size, count):
    assert count_calibrating(Images(*size)) == count


def test_files_are_asked_about_fewer_large_images_at_a_time(tmp_path, monkeypatch):
    asked, run = [], exporter.run_batches

    def counting(model, batches, **options):
        asked.extend(map(len, batches))
        return run(model, batches, **options)

    monkeypatch.setattr(exporter, "run_batches", counting)
    monkeypatch.setattr(exporter, "_PIXELS", 3 * 16 * 16)
    images = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8)
    export_student(models.build("resnet-8", 3, 2), ABOUT, images, tmp_path, formats=())
    assert asked == [1, 3, 3, 1]
