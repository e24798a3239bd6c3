"""Maps of embeddings: neighbors against plain NumPy, the turn against SciPy, and what is hard to map."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from persistill.errors import UserError
from persistill.metrics import embedding_map
from persistill.metrics.embedding_projection import turned
from persistill.tasks.classification.embedding_maps import EMBEDDING_MAPS, store_embedding_maps
from persistill.utils.progress import Silent


def clusters(each: int, d: int, seed: int = 0, number: int = 4) -> tuple[torch.Tensor, np.ndarray]:
    """Points around centers that lie ten of their deviations apart, in an order by lot, and which is whose."""
    random = np.random.default_rng(seed)
    target = random.permutation(np.repeat(np.arange(number), each))
    return torch.tensor(10 * np.eye(number, d)[target] + random.normal(size=(len(target), d))), target


def distances(points: np.ndarray) -> np.ndarray:
    return np.sqrt(((points[:, None] - points[None]) ** 2).sum(2))


def neighbors(points: np.ndarray, k: int) -> np.ndarray:
    apart = distances(points)
    np.fill_diagonal(apart, np.inf)
    return apart.argsort(1)[:, :k]


def test_clusters_stay_apart_and_neighbors_together():
    points, target = clusters(40, 12)
    found = embedding_map(points).numpy()
    assert (target[neighbors(found, 10)] == target[:, None]).all()
    # Within a cluster, too, more of the ten nearest are kept than the ten of 39 that chance would keep.
    before, after = neighbors(points.numpy(), 10), neighbors(found, 10)
    kept = np.mean([len(set(a) & set(b)) for a, b in zip(before, after, strict=True)])
    assert kept > 5


def test_a_ring_is_not_cut():
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    ring = torch.tensor(np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1))
    found = embedding_map(ring).numpy()
    steps = np.linalg.norm(found - np.roll(found, 1, 0), axis=1)
    assert steps.max() < 0.2  # of a mean distance of 1 from the middle


def test_same_input_same_map():
    points, _ = clusters(10, 5)
    first = embedding_map(points)
    assert torch.equal(embedding_map(points), first)
    assert torch.equal(embedding_map(points.clone().requires_grad_()), first)
    assert (first.dtype, first.shape) == (torch.float32, (40, 2))


@settings(deadline=None, max_examples=15)
@given(
    n=st.integers(0, 14),
    d=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    distinct=st.integers(1, 14),
    scale=st.sampled_from([1e-300, 1e-3, 1.0, 1e300]),
)
def test_any_handful_of_images_has_a_map(n, d, seed, distinct, scale):
    random = np.random.default_rng(seed)
    points = random.normal(size=(distinct, d))[random.integers(0, distinct, n)]
    found = embedding_map(torch.tensor(scale * points)).double().numpy()
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()
    if n and len(np.unique(points, axis=0)) > 1:
        assert found.mean(0) == pytest.approx([0, 0], abs=1e-5)
        assert np.square(found).sum(1).mean() == pytest.approx(1, abs=1e-4)
    else:
        assert not found.any()


def test_few_images_are_drawn_as_they_lie():
    # In a plane of space, four points: principal components keep all their distances but for the unit.
    plane = np.array([[0, 0], [3, 0], [0, 1], [2, 2]]) @ np.array([[1, 1, 0], [0, 0, 1]]) + 5
    found = embedding_map(torch.tensor(plane)).numpy()
    ratio = distances(found)[distances(plane) > 0] / distances(plane)[distances(plane) > 0]
    assert ratio == pytest.approx(ratio[0], rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_narrow_numbers_and_numbers_that_are_not_finite(dtype):
    points, target = clusters(10, 6)
    points = points.to(dtype)
    points[3, 0], points[7, 5], points[8] = torch.nan, torch.inf, -torch.inf
    found = embedding_map(points)
    lost = torch.zeros(40, dtype=torch.bool)
    lost[[3, 7, 8]] = True
    assert torch.equal(found.isnan().all(1), lost)
    assert torch.equal(found[~lost], embedding_map(points[~lost]))
    kept = target[~lost.numpy()]
    assert (kept[neighbors(found[~lost].numpy(), 3)] == kept[:, None]).all()
    nothing = embedding_map(torch.full((6, 3), torch.nan))
    assert nothing.isnan().all()


def test_a_map_is_turned_and_nothing_else():
    random = np.random.default_rng(3)
    here, there = random.normal(size=(2, 30, 2))
    rotation, _ = orthogonal_procrustes(here, there)
    found = turned(torch.tensor(here), torch.tensor(there)).numpy()
    assert found == pytest.approx(here @ rotation)
    assert distances(found) == pytest.approx(distances(here))
    mirrored = torch.tensor(there * [1, -1])
    assert turned(mirrored, torch.tensor(there)).numpy() == pytest.approx(there)
    mirrored[4] = torch.nan
    back = turned(mirrored, torch.tensor(there)).numpy()
    assert np.isnan(back[4]).all()
    assert np.delete(back, 4, 0) == pytest.approx(np.delete(there, 4, 0))


def evaluated(root: Path, name: str, points: torch.Tensor, target: np.ndarray, rows: np.ndarray) -> Path:
    """What an evaluation leaves: answers to all images, by which every third is wrong, and some embeddings."""
    folder = root / name
    folder.mkdir()
    answers = np.where(np.arange(len(target)) % 3, target, (target + 1) % 4)
    np.savez(folder / "predictions.npz", target=target, logits=np.eye(4, dtype=np.float32)[answers])
    np.savez(folder / "features.npz", embedding=points.numpy()[rows].astype(np.float16), embedding_rows=rows)
    return folder


def test_stored_maps_show_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("persistill.tasks.classification.embedding_maps.MAPPED", 60)
    points, target = clusters(30, 8, seed=1)
    rows = np.arange(0, 120, 1)[::-1][:100]
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))
    folders = {
        "teacher": evaluated(tmp_path, "one", points, target, rows),
        "student": evaluated(tmp_path, "two", points @ torch.tensor(turn), target, rows),
    }
    store_embedding_maps(folders, tmp_path / EMBEDDING_MAPS, Silent())
    with np.load(tmp_path / EMBEDDING_MAPS) as file:
        found = dict(file)
    assert set(found) == {"rows", "target", "map_teacher", "answer_teacher", "map_student", "answer_student"}
    assert len(set(found["rows"])) == 60
    assert set(found["rows"]) <= set(rows)
    assert (found["target"] == target[found["rows"]]).all()
    shares = np.bincount(target[rows], minlength=4) * 0.6
    assert np.abs(np.bincount(found["target"]) - shares).max() < 1
    wrong = found["rows"] % 3 == 0
    assert ((found["answer_student"] != found["target"]) == wrong).all()
    # An embedding that is only rotated has nearly the same map, and lies on the other one.
    apart = np.linalg.norm(found["map_teacher"] - found["map_student"], axis=1)
    assert np.median(apart) < 0.3
    for name in ("teacher", "student"):
        assert (found["target"][neighbors(found[f"map_{name}"], 5)] == found["target"][:, None]).mean() > 0.95
    # Any beginning is a fair sample: no class is missing in the first fifth.
    assert len(set(found["target"][:12])) == 4


def test_networks_that_saw_other_images_are_refused(tmp_path: Path):
    points, target = clusters(5, 4)
    one = evaluated(tmp_path, "one", points, target, np.arange(20))
    for number, (classes, rows) in enumerate([(target, np.arange(19)), (1 - target % 2, np.arange(20))]):
        other = evaluated(tmp_path, f"other-{number}", points, classes, rows)
        with pytest.raises(UserError, match="different images"):
            store_embedding_maps({"a": one, "b": other}, tmp_path / "maps.npz", Silent())
    assert not (tmp_path / "maps.npz").exists()
