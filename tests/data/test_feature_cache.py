from pathlib import Path

import numpy as np
import pytest
import torch

from persistill.data import buffer_pool, open_features, write_features
from persistill.data.buffer_pool import BufferPool
from persistill.errors import UserError
from persistill.structures import Batch, ModelOutput


class InOrder:
    """Seven images in batches of three."""

    def __init__(self) -> None:
        self.images = torch.randn(7, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 100

    def __len__(self) -> int:
        return 3

    def epoch(self, number: int, start: int = 0):
        for index in torch.arange(7).split(3):
            yield Batch({"image": self.images[index]}, index % 2, index)


def answer(batch: Batch) -> ModelOutput:
    images = batch.inputs["image"]
    return ModelOutput(images.mean((2, 3)), images.sum((2, 3)), {"stage1": images, "stage2": images[..., ::2, ::2]})


def write(folder: Path, parts: set[str], precision: str = "exact") -> dict:
    return write_features(folder, InOrder(), 7, answer, frozenset(parts), precision)


def test_stored_features_are_the_teachers_in_any_order(tmp_path: Path) -> None:
    result = write(tmp_path, {"logits", "embedding", "feature_maps"})
    index = torch.tensor([6, 0, 3, 3])
    found = open_features(tmp_path, result, torch.device("cpu")).fetch(index)
    expected = answer(Batch({"image": InOrder().images[index]}, index, index))
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.embedding, expected.embedding)
    assert list(found.feature_maps) == ["stage1", "stage2"]
    for name, value in expected.feature_maps.items():
        torch.testing.assert_close(found.feature_maps[name], value, rtol=0, atol=0)


def test_half_precision_rounds_maps_and_nothing_else(tmp_path: Path) -> None:
    result = write(tmp_path, {"logits", "feature_maps"}, "half")
    found = open_features(tmp_path, result, torch.device("cpu")).fetch(torch.arange(7))
    images = InOrder().images
    torch.testing.assert_close(found.logits, images.mean((2, 3)), rtol=0, atol=0)
    torch.testing.assert_close(found.feature_maps["stage1"], images, rtol=2**-11, atol=1e-6)
    assert not torch.equal(found.feature_maps["stage1"], images)
    assert found.feature_maps["stage1"].dtype == torch.float32


def test_only_the_parts_asked_for_take_room(tmp_path: Path) -> None:
    result = write(tmp_path, {"logits"})
    assert [path.name for path in tmp_path.iterdir()] == ["logits.npy"]
    assert result["bytes"] == 7 * 2 * 4
    found = open_features(tmp_path, result, torch.device("cpu")).fetch(torch.arange(2))
    assert found.embedding.shape == (2, 0)
    assert found.feature_maps == {}


def test_a_teacher_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def failing(batch: Batch) -> ModelOutput:
        if 3 in batch.index:
            raise OSError(28, "No space left on device")
        return answer(batch)

    with pytest.raises(UserError, match="Make room"):
        write_features(tmp_path, InOrder(), 7, failing, frozenset({"logits", "feature_maps"}), "half")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    result = write(tmp_path, {"logits"})
    path = tmp_path / "logits.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"logits\.npy is damaged"):
        open_features(tmp_path, result, torch.device("cpu"))


def test_what_is_still_looked_at_is_not_overwritten(tmp_path: Path) -> None:
    stored = open_features(tmp_path, write(tmp_path, {"feature_maps"}, "half"), torch.device("cpu"))
    first = stored.fetch(torch.tensor([0, 1]))
    row, before = first.feature_maps["stage1"][1].flatten(), first.feature_maps["stage1"][1].flatten().clone()
    del first  # but a view of it is held
    second = stored.fetch(torch.tensor([2, 3]))
    assert torch.equal(row, before)
    kept = second.feature_maps["stage1"].clone()
    third = stored.fetch(torch.tensor([4, 5]))
    assert torch.equal(second.feature_maps["stage1"], kept)
    assert not torch.equal(third.feature_maps["stage1"], kept)


def test_memory_is_lent_again_once_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(buffer_pool.np, "empty", lambda *given, real=np.empty: made.append(given) or real(*given))
    pool = BufferPool()
    one = pool.empty((3, 4))
    assert (one.shape, one.dtype) == ((3, 4), torch.float32)
    place, part = one.data_ptr(), one[1:, 2:]
    del one  # but a part of it is held
    other = pool.empty((3, 4))
    assert other.data_ptr() != place
    graph = (part.requires_grad_() ** 2).sum()
    del part, other  # but a graph holds the part
    assert pool.empty((3, 4)).data_ptr() != place
    assert len(made) == 2
    del graph
    assert place in {tensor.data_ptr() for tensor in [pool.empty((3, 4)), pool.empty((3, 4))]}
    assert len(made) == 2
    assert pool.empty((4, 3)).shape == (4, 3)
    assert len(made) == 3
