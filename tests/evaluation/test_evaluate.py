"""evaluate: the file it writes, the numbers it returns, and that both agree."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from persistill.errors import UserError
from persistill.evaluation import evaluate, gaussian_noise
from persistill.recipe import Evaluate


def test_numbers_can_be_computed_again_from_the_file(tiny, loader, target, tmp_path):
    settings = Evaluate(noise=(0.02, 0.5), ece_bins=7)
    result = evaluate(tiny, lambda transform: loader(transform=transform), "image", settings, tmp_path)
    with np.load(tmp_path / "predictions.npz") as file:
        found = {name: file[name] for name in file}
    assert set(found) == {"target", "index", "logits", "noise_0.02", "noise_0.5"}
    assert found["logits"].dtype == np.float32
    assert found["logits"].shape == (21, 4)
    assert {found[name].dtype for name in set(found) - {"logits"}} == {np.dtype(np.int64)}
    assert np.array_equal(found["target"], target.numpy())
    assert np.array_equal(found["index"], np.arange(21))

    powers = np.exp(found["logits"].astype(np.float64))
    shares = powers / powers.sum(1, keepdims=True)
    metrics = result["metrics"]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(found["target"], shares.argmax(1)))
    assert metrics["nll"] == pytest.approx(log_loss(found["target"], shares, labels=range(4)))
    places = np.ceil(shares.max(1) * 7)
    gaps = [((shares.argmax(1) == found["target"]) - shares.max(1))[places == m].sum() for m in range(1, 8)]
    assert metrics["ece"] == pytest.approx(np.abs(gaps).sum() / 21)
    assert metrics["noise"] == {
        sigma: pytest.approx(accuracy_score(found["target"], found[f"noise_{sigma}"])) for sigma in ("0.02", "0.5")
    }
    assert result["pictures"] == 21
    assert result["seconds"] > 0
    json.dumps(result, allow_nan=False)


def test_noise_goes_onto_pictures_before_they_are_normalised(tiny, loader, pixels, tmp_path):
    settings = Evaluate(noise=(0.5,), noise_seed=3)
    evaluate(tiny, lambda t: loader(transform=t, batch_size=8), "image", settings, tmp_path)
    noise = gaussian_noise(0.5, 3)
    noisy = torch.cat([noise(part, number) for number, part in enumerate(pixels.split(8))])
    with torch.no_grad():
        expected = tiny.eval()((noisy - 0.5) / 0.25).logits.argmax(1)
    with np.load(tmp_path / "predictions.npz") as file:
        assert np.array_equal(file["noise_0.5"], expected.numpy())
        assert not np.array_equal(file["noise_0.5"], file["logits"].argmax(1))


def test_a_network_that_sees_another_view_has_no_noise(tiny, loader, tmp_path):
    def make(transform):
        assert transform is None
        return loader(view="persistence")

    result = evaluate(tiny, make, "persistence", Evaluate(), tmp_path)
    assert result["metrics"]["noise"] == {}
    with np.load(tmp_path / "predictions.npz") as file:
        assert set(file) == {"target", "index", "logits"}


def test_one_stage_of_progress_over_all_strengths(tiny, loader, recorder, tmp_path):
    evaluate(tiny, lambda t: loader(transform=t), "image", Evaluate(noise=(0.1,)), tmp_path, recorder, label="x")
    assert recorder.stages == [("x", 6, 0)]
    assert (recorder.units, recorder.finished) == (6, 1)


def test_twice_the_same(tiny, loader, tmp_path):
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        results.append(evaluate(tiny, lambda t: loader(transform=t), "image", Evaluate(), tmp_path / name))
    assert results[0]["metrics"] == results[1]["metrics"]


def test_a_diverged_network_writes_nothing(tiny, loader, tmp_path):
    with torch.no_grad():
        tiny.head.bias[0] = math.nan
    with pytest.raises(UserError, match="21 of 21 pictures"):
        evaluate(tiny, lambda t: loader(transform=t), "image", Evaluate(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_survives_a_failure(tiny, loader, tmp_path, monkeypatch):
    evaluate(tiny, lambda t: loader(transform=t), "image", Evaluate(noise=()), tmp_path)
    before = (tmp_path / "predictions.npz").read_bytes()

    def full(file, **arrays):
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate(tiny, lambda t: loader(transform=t), "image", Evaluate(noise=()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]
    assert (tmp_path / "predictions.npz").read_bytes() == before


def test_a_loader_that_shuffles_is_found_out(tiny, loader, tmp_path):
    def make(transform):
        made = loader(transform=transform)
        if transform is not None:
            epoch = made.epoch
            made.epoch = lambda number: (replace(b, index=b.index.flip(0)) for b in epoch(number))
        return made

    with pytest.raises(ValueError, match="two orders"):
        evaluate(tiny, make, "image", Evaluate(), tmp_path)
