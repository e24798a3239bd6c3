"""Which test images are kept to be looked at, against loops over single images."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from persistill.tasks.classification.example_selection import ALONE, HARDEST, SIDE, hardest, keep_images, only_second

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, images: int, networks: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (networks, images, classes) with many ties, and right classes."""
    random = np.random.default_rng(seed)
    logits = random.integers(-2, 3, size=(networks, images, classes)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(random.integers(0, classes, size=images))


def assert_chosen(found: torch.Tensor, expected: list[tuple[float, int]], most: int) -> None:
    """Rows in the order of their ranks. Those of equal rank are told apart by the last bit, so any order will do."""
    ranks = {row: rank for rank, row in expected}
    assert [ranks[row] for row in found.tolist()] == [rank for rank, _ in sorted(expected)[:most]]
    assert len(set(found.tolist())) == min(most, len(expected))


@given(seed=SEEDS, images=st.integers(1, 40), most=st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_the_hardest_images_one_after_the_other(seed: int, images: int, most: int) -> None:
    logits, target = drawn(seed, images, 4)
    expected = []
    for row in range(images):
        surprise = [-log_softmax(network[row].double().numpy())[target[row]] for network in logits]
        expected.append((-round(math.fsum(surprise) / 4, 9), row))
    assert_chosen(hardest(list(logits), target, most), expected, most)


def test_of_equally_hard_images_the_lower_row_comes_first() -> None:
    logits = torch.zeros(6, 2)
    logits[4, 1] = 3.0
    assert hardest([logits], torch.zeros(6, dtype=torch.int64), 4).tolist() == [4, 0, 1, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_student_that_diverged_counts_for_nothing(bad: float) -> None:
    logits, target = drawn(5, 20, 2)
    broken = logits[0].clone()
    broken[3, target[3]] = bad
    assert hardest([broken, logits[1]], target).tolist() == hardest([logits[1]], target).tolist()
    assert hardest([broken], target).tolist() == []


def test_of_equally_sure_answers_the_lower_row_comes_first() -> None:
    wrong, right = torch.tensor([[1.0, 0.0]]).repeat(5, 1), torch.tensor([[0.0, 1.0]]).repeat(5, 1)
    right[3, 1] = 2.0
    assert only_second(wrong, right, torch.ones(5, dtype=torch.int64), 3).tolist() == [3, 0, 1]


@given(seed=SEEDS, images=st.integers(1, 60), most=st.integers(1, 20))
@settings(deadline=None, max_examples=30)
def test_what_the_second_alone_gets_right(seed: int, images: int, most: int) -> None:
    (first, second), target = drawn(seed, images, 2)
    expected = []
    for row in range(images):
        right = [int(np.argmax(network[row].numpy())) == target[row] for network in (first, second)]
        if right == [False, True]:
            expected.append((-round(float(softmax(second[row].double().numpy()).max()), 9), row))
    assert_chosen(only_second(first, second, target, most), expected, most)


def answers(folder: Path, logits: torch.Tensor, target: torch.Tensor) -> Path:
    folder.mkdir()
    np.savez(folder / "predictions.npz", logits=logits.numpy(), target=target.numpy())
    return folder


@pytest.mark.parametrize(
    ("shape", "kept"), [((1, 8, 8), (8, 8)), ((3, 96, 96), (96, 96)), ((3, 192, 100), (96, 50)), ((4, 5, 480), (1, 96))]
)
def test_what_is_kept_of_them(tmp_path: Path, shape: tuple[int, int, int], kept: tuple[int, int]) -> None:
    logits, target = drawn(1, 200, 5)
    folders = [answers(tmp_path / str(number), network, target) for number, network in enumerate(logits)]
    images = torch.randint(0, 256, (200, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[7] = 131
    view = torch.rand(200, 2, 5, 4, generator=torch.Generator().manual_seed(1))
    asked = []

    def look(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append(rows)
        return {"image": images[rows], "target": target[rows], "a/b": view[rows]}

    keep_images(tmp_path, folders[:3], {("image", "a/b"): (folders[3], folders[4])}, look)
    with np.load(tmp_path / "images.npz") as file:
        found = dict(file)
    rows = found["rows"]
    assert [row.tolist() for row in asked] == [rows.tolist()]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows[found["hardest"]].tolist() == hardest(list(logits[:3]), target).tolist()
    alone = rows[found["only_a/b_not_image"]].tolist()
    assert alone == only_second(logits[3], logits[4], target).tolist()
    assert len(found["hardest"]) == HARDEST
    assert len(alone) == ALONE
    assert set(rows.tolist()) == {*rows[found["hardest"]].tolist(), *alone}
    assert found["target"].tolist() == target[rows].tolist()
    assert np.abs(found["view_a/b"] / 255 - view[rows].numpy()).max() <= 0.5 / 255 + 1e-6
    assert found["images"].dtype == np.uint8
    assert found["images"].shape == (len(rows), shape[0], *kept)
    if max(shape[1:]) <= SIDE:
        assert (found["images"] == images[rows].numpy()).all()
    else:
        # What was made smaller keeps its mean level.
        level = found["images"].mean((1, 2, 3)) - images[rows].float().mean((1, 2, 3)).numpy()
        assert np.abs(level).max() < 4


def test_without_pairs_and_views_the_hardest_are_kept(tmp_path: Path) -> None:
    logits, target = drawn(2, 10, 1)
    folder = answers(tmp_path / "0", logits[0], target)
    keep_images(tmp_path, [folder], {}, lambda rows: {"image": torch.zeros(len(rows), 1, 2, 2, dtype=torch.uint8)})
    with np.load(tmp_path / "images.npz") as file:
        assert sorted(file.files) == ["hardest", "images", "rows", "target"]
        assert file["rows"].tolist() == list(range(10))
