"""What an evaluation of a detector leaves, and what is read from it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from persistill import metrics
from persistill.structures import Detections, Objects
from persistill.tasks.detection.files import DETECTIONS, best, detection_arrays, read_detections


@pytest.fixture
def images() -> tuple[list[Detections], list[Objects]]:
    generator = torch.Generator().manual_seed(0)

    def boxes(count: int) -> torch.Tensor:
        corner = 40 * torch.rand(count, 2, generator=generator)
        return torch.cat([corner, corner + 5 + 20 * torch.rand(count, 2, generator=generator)], 1)

    found, wanted = [], []
    for objects, strays in ((2, 3), (0, 2), (0, 0), (3, 1)):
        truth = boxes(objects)
        labels = torch.arange(objects) % 2
        hidden = torch.arange(objects) == 2
        wanted.append(Objects(truth, labels, hidden, torch.zeros(objects, dtype=torch.bool)))
        every = torch.cat([truth + 0.5, truth + 0.7, boxes(strays)])
        scores = torch.rand(len(every), generator=generator).sort(descending=True).values
        found.append(Detections(every, scores, torch.cat([labels, labels, torch.arange(strays) % 2])))
    return found, wanted


def test_what_is_stored_is_read_again(images: tuple[list[Detections], list[Objects]], tmp_path: Path) -> None:
    found, wanted = images
    matches = metrics.match_detections(found, wanted, 2)
    arrays = detection_arrays(found, wanted, np.arange(4) * 2, matches)
    np.savez(tmp_path / DETECTIONS, **{f"validation_{name}": array for name, array in arrays.items()})  # type: ignore[arg-type]
    with np.load(tmp_path / DETECTIONS) as file:
        detections, objects, index = read_detections(dict(file), "validation_")
    assert index.tolist() == [0, 2, 4, 6]
    for stored, given in ((detections, found), (objects, wanted)):
        for one, other in zip(stored, given, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_right_and_wrong_are_those_of_the_matches(images: tuple[list[Detections], list[Objects]]) -> None:
    found, wanted = images
    arrays = detection_arrays(found, wanted, np.arange(4), metrics.match_detections(found, wanted, 2))
    # of each object the first detection is right, the second wrong; the first of a difficult one does not count
    first = arrays["image"] == 0
    assert arrays["right"][first].tolist() == [True, True, False, False, False, False, False]
    assert arrays["wrong"][first].tolist() == [False, False, True, True, True, True, True]
    last = arrays["image"] == 3
    assert arrays["right"][last].tolist() == [True, True, False, False, False, False, False]
    assert arrays["wrong"][last].tolist() == [False, False, False, True, True, True, True]


def test_the_detections_with_the_highest_scores_are_kept() -> None:
    scores = torch.linspace(1, 0, 120)
    found = Detections(torch.zeros(120, 4), scores, torch.zeros(120, dtype=torch.int64))
    assert torch.equal(best(found).scores, scores[:100])
