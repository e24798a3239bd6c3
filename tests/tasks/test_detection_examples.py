"""Which test images a comparison of detectors keeps."""

from pathlib import Path

import numpy as np
import torch

from persistill.tasks.detection.examples import IMAGES, SHOWN, SIDE, keep_examples
from persistill.tasks.detection.files import DETECTIONS

COUNT = 20
EMPTY = 7


def evaluation(folder: Path, wrong: dict[int, int], count: int = COUNT) -> Path:
    """One object an image but for one image, found by a score of 0.9; beside it boxes that are wrong."""
    folder.mkdir()
    image, right, scores = [], [], []
    for row in range(count):
        answers = [True] * (row != EMPTY) + [False] * wrong.get(row, 0)
        image += [row] * len(answers)
        right += answers
        scores += [0.9] * len(answers)
    image, right, scores = [*image, 2], [*right, False], [*scores, 0.2]  # too low to count
    own = np.array([row for row in range(count) if row != EMPTY])
    np.savez(
        folder / DETECTIONS,
        index=np.arange(count) + 100,
        image=np.array(image),
        scores=np.array(scores, np.float32),
        right=np.array(right),
        wrong=~np.array(right),
        object_image=own,
        object_difficult=np.zeros(len(own), bool),
        object_crowd=np.zeros(len(own), bool),
    )
    return folder


def test_the_hardest_images_and_others_with_objects_are_kept(tmp_path: Path) -> None:
    asked: list[torch.Tensor] = []

    def look(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append(rows)
        return {"image": torch.full((len(rows), 3, 600, 900), 7, dtype=torch.uint8)}

    students = [evaluation(tmp_path / "a", {5: 4, 11: 9, 2: 1}), evaluation(tmp_path / "b", {5: 4, 11: 9, 15: 3})]
    keep_examples(tmp_path, students, look)
    with np.load(tmp_path / IMAGES) as file:
        kept = dict(file)
    assert kept["rows"][kept["hardest"]].tolist() == [11, 5, 15, 2]
    others = kept["rows"][kept["others"]]
    assert len(others) == SHOWN - 4
    assert EMPTY not in others
    assert (np.diff(others) >= 3).all()
    assert np.array_equal(asked[0].numpy(), kept["rows"] + 100)
    assert kept["images"].shape == (SHOWN, 3, 320, SIDE)
    assert (kept["images"] == 7).all()
    assert kept["size"].tolist() == [600, 900]


def test_fewer_images_than_are_shown(tmp_path: Path) -> None:
    students = [evaluation(tmp_path / "a", {}, count=3)]
    keep_examples(tmp_path, students, lambda rows: {"image": torch.zeros(len(rows), 1, 8, 9).byte()})
    with np.load(tmp_path / IMAGES) as file:
        assert file["images"].shape == (3, 1, 8, 9)
        assert file["hardest"].tolist() == [0, 1, 2]
        assert file["others"].tolist() == []
