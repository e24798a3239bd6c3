"""Accuracy, NLL and ECE against loops, scikit-learn, torchmetrics and cases worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from persistill.errors import UserError
from persistill.evaluation import accuracy, ece, nll


def drawn(n: int, k: int, seed: int, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that favour the right class somewhat, so that neither accuracy nor calibration is extreme."""
    random = np.random.default_rng(seed)
    target = random.integers(k, size=n)
    logits = scale * random.normal(size=(n, k))
    logits[np.arange(n), target] += scale / 2
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(target)


def softmax(row: np.ndarray) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def ece_by_loops(logits: torch.Tensor, target: torch.Tensor, bins: int) -> float:
    rows = [softmax(row) for row in logits.double().numpy()]
    total = 0.0
    for m in range(bins):
        confidences, hits = [], []
        for shares, right in zip(rows, target.tolist(), strict=True):
            confidence = max(shares)
            if m / bins < confidence <= (m + 1) / bins:
                confidences.append(confidence)
                hits.append(shares.index(confidence) == right)
        if confidences:
            gap = abs(sum(hits) / len(hits) - sum(confidences) / len(confidences))
            total += len(hits) / len(rows) * gap
    return total


many = pytest.mark.parametrize(("n", "k", "seed"), [(1, 2, 0), (7, 3, 1), (200, 10, 2), (500, 100, 3)])


@many
def test_accuracy_is_that_of_scikit_learn_and_torchmetrics(n, k, seed):
    logits, target = drawn(n, k, seed)
    expected = accuracy_score(target.numpy(), logits.numpy().argmax(1))
    assert accuracy(logits, target) == pytest.approx(expected, abs=1e-12)
    other = multiclass_accuracy(logits, target, num_classes=k, average="micro")
    assert accuracy(logits, target) == pytest.approx(float(other), abs=1e-6)


@many
def test_nll_is_that_of_scikit_learn(n, k, seed):
    logits, target = drawn(n, k, seed)
    shares = np.array([softmax(row) for row in logits.double().numpy()])
    expected = log_loss(target.numpy(), shares, labels=list(range(k)))
    assert nll(logits, target) == pytest.approx(expected, rel=1e-9)


@many
@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_ece_is_that_of_the_loops(n, k, seed, bins):
    logits, target = drawn(n, k, seed)
    assert ece(logits, target, bins) == pytest.approx(ece_by_loops(logits, target, bins), abs=1e-12)


def test_ece_is_that_of_torchmetrics_where_no_confidence_rounds_to_one():
    logits, target = drawn(400, 10, 5, scale=1.0)
    assert logits.softmax(1).max() < 1
    expected = multiclass_calibration_error(logits, target, num_classes=10, n_bins=15, norm="l1")
    assert ece(logits, target) == pytest.approx(float(expected), abs=1e-6)


def test_ece_keeps_certain_answers_in_the_last_bin():
    # Confidences 1 (rounded) and 0.95 share the bin (14/15, 1]; half of the answers are right. A bin of its
    # own for confidence 1 would give 0.5 * |1 - 0| + 0.5 * |0.95 - 1| = 0.525.
    logits = torch.tensor([[200.0, 0.0], [math.log(0.95 / 0.05), 0.0]], dtype=torch.float64)
    assert ece(logits, torch.tensor([1, 0])) == pytest.approx(abs(0.5 - (1 + 0.95) / 2))


def test_logits_between_zero_and_one_are_logits():
    logits = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    confidence = (math.exp(0.9) / (math.exp(0.9) + math.exp(0.1)) + math.exp(0.8) / (math.exp(0.8) + math.exp(0.2))) / 2
    assert ece(logits, torch.tensor([0, 1]), 1) == pytest.approx(1 - confidence, abs=1e-6)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    # Two classes, equal logits: confidence exactly 1/2. With two bins it belongs to (0, 1/2], apart from 0.9;
    # one answer is right: 0.5 * |1 - 0.5| + 0.5 * |0 - 0.9| = 0.7, and in one bin |0.5 - 0.7| = 0.2.
    logits = torch.tensor([[0.0, 0.0], [math.log(9.0), 0.0]], dtype=torch.float64)
    assert ece(logits, torch.tensor([0, 1]), 2) == pytest.approx(0.7)
    assert ece(logits, torch.tensor([0, 1]), 1) == pytest.approx(0.2)


def test_a_network_that_knows_nothing():
    logits, target = torch.zeros(40, 10), torch.arange(40) % 10
    assert nll(logits, target) == pytest.approx(math.log(10))
    assert accuracy(logits, target) == 0.1
    assert ece(logits, target) == pytest.approx(0, abs=1e-12)


def test_a_network_that_is_sure_and_wrong():
    logits, target = torch.zeros(5, 3), torch.ones(5, dtype=torch.int64)
    logits[:, 0] = 100
    assert (accuracy(logits, target), ece(logits, target)) == (0.0, 1.0)
    assert nll(logits, target) == pytest.approx(100)


def test_a_class_that_is_ruled_out_is_no_error():
    logits = torch.tensor([[0.0, -math.inf, 0.0]])
    assert nll(logits, torch.tensor([0])) == pytest.approx(math.log(2))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(2, 12), st.integers(0, 10**6), st.floats(-50, 50))
def test_metrics_see_neither_the_order_of_pictures_nor_a_constant_added_to_logits(n, k, seed, shift):
    logits, target = drawn(n, k, seed)
    logits = logits.double()
    order = torch.tensor(np.random.default_rng(seed).permutation(n))
    for metric in (accuracy, nll, ece):
        value = metric(logits, target)
        assert metric(logits[order], target[order]) == pytest.approx(value, abs=1e-9)
        assert metric(logits + shift, target) == pytest.approx(value, abs=1e-9)
    assert 0 <= ece(logits, target) <= 1
    # More, nested bins cannot lower the error: |a + b| <= |a| + |b|.
    assert ece(logits, target, 5) <= ece(logits, target, 15) + 1e-12


@pytest.mark.parametrize("metric", [accuracy, nll, ece])
@pytest.mark.parametrize(
    ("logits", "target", "said"),
    [
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), r"\(3, 2\) and \(4,\)"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"\(3,\) and \(3,\)"),
        (torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64), r"\(3, 2\) and \(3, 2\)"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), r"nothing to measure.*\(0, 2\)"),
        (torch.zeros(3, 0), torch.zeros(3, dtype=torch.int64), r"nothing to measure.*\(3, 0\)"),
        (torch.zeros(2, 2), torch.zeros(2), "integers; its type is torch.float32"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), r"from 0 to 1.*target\[1\] is 2"),
        (torch.zeros(2, 2), torch.tensor([-1, 0]), r"target\[0\] is -1"),
        (
            torch.tensor([[0.0, 1], [math.nan, 0]]),
            torch.tensor([0, 0]),
            "1 of 2 pictures, the first at row 1",
        ),
        (torch.tensor([[math.inf, 1], [0, 0]]), torch.tensor([0, 0]), r"\+inf for 1 of 2 pictures"),
    ],
)
def test_what_cannot_be_measured_is_said(metric, logits, target, said):
    with pytest.raises(UserError, match=said):
        metric(logits, target)


def test_no_bins_are_an_error():
    with pytest.raises(UserError, match="bins=0"):
        ece(torch.zeros(1, 2), torch.tensor([0]), 0)
