"""evaluate: the files it leaves, the numbers it returns, that both agree, and that it goes on where it stopped."""

import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from persistill.config import Evaluate
from persistill.errors import UserError
from persistill.evaluation import evaluate as evaluate_for
from persistill.metrics import aurc, classwise_ece, ece, ece_equal_mass, fit_temperature, v_measure
from persistill.perturbations import fgsm, gaussian_noise
from persistill.tasks import Classification
from persistill.tasks.classification import clean as clean_module
from persistill.tasks.classification import robustness

evaluate = partial(evaluate_for, task=Classification())
QUICK = Evaluate(noise=(), attacks=())


def stored(path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file}


def test_numbers_can_be_computed_again_from_the_files(tiny, material, target, tmp_path):
    settings = Evaluate(noise=(0.02, 0.5), ece_bins=7, attacks=())
    result = evaluate(tiny, material(), "image", settings, tmp_path)
    found = stored(tmp_path / "predictions.npz")
    assert set(found) == {"target", "index", "logits", "validation_target", "validation_index", "validation_logits"}
    assert found["logits"].dtype == np.float32
    assert (found["logits"].shape, found["validation_logits"].shape) == ((21, 4), (9, 4))
    assert np.array_equal(found["target"], target.numpy())
    assert np.array_equal(found["validation_target"], target[-9:].numpy())
    assert np.array_equal(found["index"], np.arange(21))

    powers = np.exp(found["logits"].astype(np.float64))
    shares = powers / powers.sum(1, keepdims=True)
    metrics, truth = result["metrics"], found["target"]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, shares.argmax(1)))
    assert "top_k" not in metrics  # of four classes, five answers are always right
    recall, support = recall_score(truth, shares.argmax(1), average=None), np.bincount(truth, minlength=4)
    assert metrics["classes"]["recall"] == pytest.approx(recall)
    assert metrics["classes"]["support"] == support.tolist()
    assert metrics["balanced_accuracy"] == pytest.approx(recall.mean())
    expected_f1 = f1_score(truth, shares.argmax(1), average="macro")
    assert metrics["macro_f1"] == pytest.approx(expected_f1)
    assert metrics["nll"] == pytest.approx(log_loss(truth, shares, labels=range(4)))
    assert metrics["brier"] == pytest.approx(brier_score_loss(truth, shares, labels=range(4), scale_by_half=False))
    places = np.ceil(shares.max(1) * 7)
    gaps = [((shares.argmax(1) == truth) - shares.max(1))[places == m].sum() for m in range(1, 8)]
    assert metrics["ece"] == pytest.approx(np.abs(gaps).sum() / 21)
    tensors = torch.tensor(found["logits"]), torch.tensor(truth)
    assert metrics["ece_equal_mass"] == ece_equal_mass(*tensors, 7)
    assert metrics["classwise_ece"] == classwise_ece(*tensors, 7)
    assert metrics["aurc"] == aurc(*tensors)
    assert metrics["noise"] == {
        sigma: pytest.approx(accuracy_score(truth, stored(tmp_path / f"noise-{sigma}.npz")["answer"]))
        for sigma in ("0.02", "0.5")
    }
    assert (metrics["attacks"], metrics["ood"]) == ({}, None)
    assert result["images"] == 21
    assert result["seconds"] > 0
    json.dumps(result, allow_nan=False)


def test_top_k_says_its_k(tiny, material, tmp_path):
    tiny.head = torch.nn.Linear(5, 30)
    found = evaluate(tiny, material(), "image", QUICK, tmp_path)["metrics"]["top_k"]
    file = stored(tmp_path / "predictions.npz")
    expected = top_k_accuracy_score(file["target"], file["logits"], k=5, labels=range(30))
    assert found == {"k": 5, "accuracy": pytest.approx(expected)}


def test_the_temperature_is_fitted_on_validation_images(tiny, material, tmp_path):
    given = material()
    with torch.no_grad():
        answers = tiny.eval()((given.validation.pixels - 0.5) / 0.25).logits.argsort(1)
    # Mostly right on validation images, and hardly ever on the test images.
    given.validation.target = torch.where(torch.arange(9) % 3 > 0, answers[:, -1], answers[:, -2])
    settings = Evaluate(noise=(), attacks=(), ece_bins=6)
    calibrated = evaluate(tiny, given, "image", settings, tmp_path)["metrics"]["calibrated"]
    file = stored(tmp_path / "predictions.npz")
    temperature = fit_temperature(torch.tensor(file["validation_logits"]), torch.tensor(file["validation_target"]))
    assert (calibrated["temperature"], calibrated["images"]) == (temperature, 9)
    assert 0.1 < temperature < 10
    assert fit_temperature(torch.tensor(file["logits"]), torch.tensor(file["target"])) > 1.5 * temperature
    powers = np.exp(file["logits"].astype(np.float64) / temperature)
    shares, truth = powers / powers.sum(1, keepdims=True), file["target"]
    assert calibrated["nll"] == pytest.approx(log_loss(truth, shares, labels=range(4)))
    assert calibrated["brier"] == pytest.approx(brier_score_loss(truth, shares, labels=range(4), scale_by_half=False))
    logits, target = torch.tensor(np.log(shares)), torch.tensor(truth)
    for name, metric in [("ece", ece), ("ece_equal_mass", ece_equal_mass), ("classwise_ece", classwise_ece)]:
        assert calibrated[name] == pytest.approx(metric(logits, target, 6), abs=1e-9)


def test_the_selective_curve_is_kept_at_twenty_coverages(tiny, material, tmp_path):
    found = evaluate(tiny, material(), "image", QUICK, tmp_path)["metrics"]["selective"]
    file = stored(tmp_path / "predictions.npz")
    logits = torch.tensor(file["logits"]).double()
    order = logits.softmax(1).amax(1).argsort(descending=True)
    right = (logits.argmax(1) == torch.tensor(file["target"])).double()[order]
    answered = [math.ceil(21 * number / 20) for number in range(1, 21)]
    assert found["coverage"] == pytest.approx([count / 21 for count in answered])
    assert found["accuracy"] == pytest.approx([float(right[:count].mean()) for count in answered])


def test_embeddings_and_similarity_maps_are_kept(tiny, material, pixels, target, tmp_path, monkeypatch):
    monkeypatch.setattr(clean_module, "SIMILAR", 8)
    result = evaluate(tiny, material(), "image", Evaluate(noise=(), attacks=(), embeddings=13), tmp_path)
    found = stored(tmp_path / "features.npz")
    assert set(found) == {"embedding", "embedding_rows", "similarity_rows", "gram_stage"}
    with torch.no_grad():
        features = tiny.eval()((pixels - 0.5) / 0.25)
    rows = found["embedding_rows"]
    assert found["embedding"].dtype == np.float16
    assert len(set(rows.tolist())) == 13
    assert rows.tolist() == sorted(rows.tolist())
    assert np.allclose(found["embedding"], features.embedding[rows], rtol=2e-3, atol=1e-6)
    assert result["metrics"]["v_measure"] == pytest.approx(v_measure(features.embedding[rows], target[rows], 4))
    # Two images of each class, the first of the split, class after class.
    expected = [row for number in range(4) for row in (target == number).nonzero()[:2, 0].tolist()]
    assert found["similarity_rows"].tolist() == expected
    flat = features.feature_maps["stage"][expected].flatten(1).numpy()
    assert found["gram_stage"] == pytest.approx(np.einsum("if,jf->ij", flat, flat), rel=1e-4)


def test_large_embeddings_are_kept_in_float32(tiny, material, tmp_path):
    with torch.no_grad():
        tiny.norm.weight *= 1e6
        tiny.head.weight *= 1e-6
    evaluate(tiny, material(), "image", QUICK, tmp_path)
    embedding = stored(tmp_path / "features.npz")["embedding"]
    assert embedding.dtype == np.float32
    assert embedding.max() > 1e5


def test_noise_goes_onto_images_before_they_are_normalized(tiny, material, pixels, tmp_path):
    settings = Evaluate(noise=(0.5,), noise_seed=3, attacks=())
    evaluate(tiny, material(batch_size=8), "image", settings, tmp_path)
    noise = gaussian_noise(0.5, 3)
    noisy = torch.cat([noise(part, number) for number, part in enumerate(pixels.split(8))])
    with torch.no_grad():
        expected = tiny.eval()((noisy - 0.5) / 0.25).logits.argmax(1)
    answer = stored(tmp_path / "noise-0.5.npz")["answer"]
    assert np.array_equal(answer, expected.numpy())
    assert not np.array_equal(answer, stored(tmp_path / "predictions.npz")["logits"].argmax(1))


def test_attacks_are_measured_on_a_fixed_part_of_the_images(tiny, material, pixels, target, tmp_path, monkeypatch):
    seen = []

    def watched(answer, plain, right, epsilon, **options):
        seen.append((plain, epsilon, options))
        return fgsm(answer, plain, right, epsilon)

    monkeypatch.setattr(robustness, "fgsm", watched)
    settings = Evaluate(noise=(), attacks=(2.0, 25.5), attack_images=16)
    found = evaluate(tiny, material(), "image", settings, tmp_path)["metrics"]["attacks"]
    assert (found["images"], found["steps"]) == (16, 10)
    rows = torch.randperm(21, generator=torch.Generator().manual_seed(0))[:16].sort().values
    tiny.eval()

    def answer(x):
        return tiny((x - 0.5) / 0.25).logits

    def share(x):
        with torch.no_grad():
            return pytest.approx(float((answer(x).argmax(1) == target[rows]).double().mean()))

    assert [epsilon for _, epsilon, _ in seen] == pytest.approx([2 / 255] * 3 + [0.1] * 3, rel=1e-12)
    assert torch.allclose(torch.cat([plain for plain, *_ in seen[:3]]), pixels[rows], atol=1e-6)
    assert found["accuracy"] == share(pixels[rows])
    assert found["fgsm"]["25.5"] == share(fgsm(answer, pixels[rows], target[rows], 0.1))
    assert set(found["fgsm"]) == set(found["pgd"]) == {"2", "25.5"}
    assert found["pgd"]["25.5"] <= found["fgsm"]["25.5"] < found["accuracy"]


def test_other_images_are_told_by_confidence(tiny, material, loader, tmp_path):
    other = loader()
    other.pixels = other.pixels.flip(3).square()[:17]
    other.target = other.target[:17]
    settings = Evaluate(noise=(), attacks=(), ood="elsewhere")
    found = evaluate(tiny, material(ood=other), "image", settings, tmp_path)["metrics"]["ood"]
    inside, outside = (
        torch.tensor(stored(tmp_path / name)["logits"]).double() for name in ("predictions.npz", "ood.npz")
    )
    truth = [1] * 21 + [0] * 17
    confidence = torch.cat([inside, outside]).softmax(1).amax(1)
    energy = torch.cat([inside, outside]).logsumexp(1)
    assert found == {
        "source": "elsewhere",
        "images": 17,
        "max_softmax": pytest.approx(roc_auc_score(truth, confidence)),
        "energy": pytest.approx(roc_auc_score(truth, energy)),
    }


def test_a_network_that_sees_another_view_is_measured_on_clean_images_alone(tiny, material, loader, tmp_path):
    given = material(view="persistence", ood=loader())
    test = given.test

    def make(transform):
        assert transform is None
        return test(transform)

    settings = Evaluate(ood="elsewhere")
    metrics = evaluate(tiny, replace(given, test=make), "persistence", settings, tmp_path)["metrics"]
    assert (metrics["noise"], metrics["attacks"], metrics["ood"]) == ({}, {}, None)
    assert metrics["calibrated"]["nll"] > 0


def test_one_stage_of_progress_over_all_parts(tiny, material, recorder, tmp_path):
    settings = Evaluate(noise=(0.1,), attacks=(2.0,))
    evaluate(tiny, material(), "image", settings, tmp_path, recorder, label="x")
    # Batches of eight: 3 + 2 clean ones, 3 with noise, 3 attacked.
    assert recorder.stages == [("x", 11, 0)]
    assert (recorder.units, recorder.finished) == (11, 1)


def test_twice_the_same(tiny, material, tmp_path):
    results = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        results.append(evaluate(tiny, material(), "image", Evaluate(), tmp_path / name))
    assert results[0]["metrics"] == results[1]["metrics"]


def test_the_state_of_the_network_never_changes(tiny, material, tmp_path):
    tiny.train()
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    evaluate(tiny, material(), "image", Evaluate(), tmp_path)
    assert tiny.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in tiny.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.state_dict().items())


def test_an_interrupted_evaluation_goes_on_with_the_next_part(tiny, material, recorder, tmp_path):
    settings = Evaluate(noise=(0.1, 0.2), attacks=(8.0,))
    (tmp_path / "whole").mkdir()
    (tmp_path / "broken").mkdir()
    whole = evaluate(tiny, material(), "image", settings, tmp_path / "whole")
    given = material()
    calls = []

    def failing(transform):
        made = given.test(transform)
        epoch = made.epoch

        def counted(number):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return epoch(number)

        made.epoch = counted
        return made

    interrupted = replace(given, test=failing)
    with pytest.raises(KeyboardInterrupt):
        evaluate(tiny, interrupted, "image", settings, tmp_path / "broken")
    names = sorted(path.name for path in (tmp_path / "broken").glob("part-*"))
    assert names == ["part-clean.json", "part-noise-0.1.json"]
    resumed = evaluate(tiny, interrupted, "image", settings, tmp_path / "broken", recorder)
    assert resumed["metrics"] == whole["metrics"]
    assert resumed["images"] == 21
    assert len(calls) == 5  # clean, 0.1, the failure; then 0.2 and the attack
    assert recorder.stages == [("evaluation", 14, 8)]
    assert recorder.units == 6
    assert stored(tmp_path / "broken" / "noise-0.2.npz").keys() == {"answer"}


def test_what_another_network_left_is_measured_again(tiny, material, tmp_path, recorder):
    evaluate(tiny, material(), "image", QUICK, tmp_path)
    with torch.no_grad():
        tiny.head.bias += torch.tensor([3.0, 0, 0, 0])
    second = evaluate(tiny, material(), "image", QUICK, tmp_path, recorder)["metrics"]
    file = stored(tmp_path / "predictions.npz")
    tensors = torch.tensor(file["logits"]), torch.tensor(file["target"])
    assert second["nll"] == pytest.approx(torch.nn.functional.cross_entropy(*tensors).item(), rel=1e-5)
    assert second["accuracy"] == pytest.approx(accuracy_score(file["target"], file["logits"].argmax(1)))
    other = Evaluate(noise=(), attacks=(), ece_bins=2)
    third = evaluate(tiny, material(), "image", other, tmp_path, recorder)["metrics"]
    assert third["ece"] == ece(*tensors, 2)
    evaluate(tiny, material(), "image", other, tmp_path, recorder)
    (_, batches, _), *_ = recorder.stages
    assert [done for *_, done in recorder.stages] == [0, 0, batches]  # the last one found everything


def test_a_diverged_network_writes_nothing(tiny, material, tmp_path):
    with torch.no_grad():
        tiny.head.bias[0] = math.nan
    with pytest.raises(UserError, match="21 of 21 images"):
        evaluate(tiny, material(), "image", Evaluate(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_class_that_is_ruled_out_gives_no_number_that_json_does_not_know(tiny, material, tmp_path):
    with torch.no_grad():
        tiny.head.bias[0] = -math.inf
    result = evaluate(tiny, material(), "image", Evaluate(noise=(0.1,)), tmp_path)
    assert result["metrics"]["nll"] is None
    assert 0 < result["metrics"]["brier"] < 2
    json.dumps(result, allow_nan=False)


def test_a_file_that_was_there_survives_a_failure(tiny, material, tmp_path, monkeypatch):
    evaluate(tiny, material(), "image", QUICK, tmp_path)
    before = (tmp_path / "predictions.npz").read_bytes()
    there = sorted(path.name for path in tmp_path.iterdir())

    def full(file, **arrays):
        file.write(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with torch.no_grad():
        tiny.head.bias += 1
    with pytest.raises(OSError, match="No space left"):
        evaluate(tiny, material(), "image", QUICK, tmp_path)
    assert (tmp_path / "predictions.npz").read_bytes() == before
    # What would have vouched for the files that were to be written is gone.
    assert sorted(path.name for path in tmp_path.iterdir()) == [name for name in there if "part" not in name]


def test_a_loader_that_shuffles_is_found_out(tiny, material, tmp_path):
    given = material()

    def make(transform):
        made = given.test(transform)
        if transform is not None:
            epoch = made.epoch
            made.epoch = lambda number: (replace(b, index=b.index.flip(0)) for b in epoch(number))
        return made

    with pytest.raises(ValueError, match="two orders"):
        evaluate(tiny, replace(given, test=make), "image", Evaluate(), tmp_path)
