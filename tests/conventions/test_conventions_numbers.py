"""The sentences under "Numbers" in docs/conventions.md: each test holds that of its name."""

import math

import numpy as np
import pytest
import torch

from persistill import metrics, models, perturbations
from persistill.config import Evaluate
from persistill.data import Loader
from persistill.exporters import export_student, load_student
from persistill.report import Sample, paired_difference
from persistill.report.table import percent, spread


def test_fractions_and_percentages(run):
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    target = torch.tensor([0, 1, 1])
    assert metrics.accuracy(logits, target) == pytest.approx(2 / 3)
    assert 0 <= metrics.ece(logits, target) <= 1
    measured = run.folder("evaluation", "alone-seed3").result()["metrics"]
    with np.load(run.folder("evaluation", "alone-seed3").file("predictions.npz")) as file:
        assert measured["accuracy"] == pytest.approx((file["logits"].argmax(1) == file["target"]).mean())
    assert percent(2 / 3) == "66.67"


def test_nll_in_nats():
    assert metrics.nll(torch.zeros(4, 10), torch.arange(4)) == pytest.approx(math.log(10))


def test_calibration_error():
    # Confidence 0.8 = 12/15 on an edge belongs to the bin below, apart from 0.81: they do not cancel.
    logits = torch.tensor([[math.log(4.0), 0.0], [math.log(81 / 19), 0.0]], dtype=torch.float64)
    confidence = logits.softmax(1).max(1).values
    assert confidence[0] <= 12 / 15 < confidence[1]
    assert metrics.ece(logits, torch.tensor([0, 1])) == pytest.approx(0.5 * abs(1 - 0.8) + 0.5 * 0.81)
    assert Evaluate().ece_bins == 15


def test_temperature_of_validation(run):
    folder = run.folder("evaluation", "alone-seed3")
    with np.load(folder.file("predictions.npz")) as file:
        logits, target = torch.from_numpy(file["validation_logits"]), torch.from_numpy(file["validation_target"])
        test, truth = torch.from_numpy(file["logits"]), torch.from_numpy(file["target"])
    temperature = metrics.fit_temperature(logits, target)
    calibrated = folder.result()["metrics"]["calibrated"]
    assert calibrated["temperature"] == pytest.approx(temperature)
    assert temperature != pytest.approx(metrics.fit_temperature(test, truth))
    assert calibrated["nll"] == pytest.approx(metrics.nll(test / temperature, truth))


def test_better_or_worse():
    ours, theirs = np.ones((3, 50)), np.zeros((3, 50))
    ours[0, :2] = 0
    assert paired_difference(ours, theirs).verdict == "better"
    assert paired_difference(theirs, ours).verdict == "worse"
    assert paired_difference(ours, ours).verdict == "not distinguishable"
    ours[0] = -1  # a mean of 1/3, and a seed that goes the other way
    found = paired_difference(ours, theirs)
    assert found.low < 0 < found.mean
    assert found.verdict == "not distinguishable"


def test_noise_on_images(splits):
    noise = perturbations.gaussian_noise(0.5, seed=0)
    loaders = [
        Loader(splits.test, {}, batch_size=50, mean=mean, std=std, shuffle_seed=None, transform=noise)
        for mean, std in [((0.0,), (1.0,)), ((0.3,), (0.2,))]
    ]
    plain_view, normalized = (next(loader.epoch(0)).inputs["image"] for loader in loaders)
    assert (plain_view.min(), plain_view.max()) == (0, 1)
    assert torch.allclose(normalized, (plain_view - 0.3) / 0.2, atol=1e-5)


def test_sample_standard_deviations():
    sample = Sample((0.1, 0.2, 0.6))
    assert sample.deviation == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert spread(sample, 100) == "30.00 ± 26.46"


def test_exported_students_normalize(splits, tmp_path):
    torch.manual_seed(0)
    network = models.build("resnet-8", 1, 10).eval()
    images = splits.test.fetch(torch.arange(4))
    about = {"classes": list(splits.classes), "mean": (0.3,), "std": (0.2,), "shape": splits.test.shape}
    export_student(network, about, images, tmp_path)
    with torch.no_grad():
        expected = network((images / 255 - 0.3) / 0.2).logits
        assert torch.allclose(load_student(tmp_path)(images / 255), expected, atol=1e-5)
