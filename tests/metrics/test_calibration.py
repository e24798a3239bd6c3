"""Calibration errors and temperature against loops, torchmetrics, SciPy and cases worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logits import random_logits, shares
from scipy.optimize import minimize_scalar
from torchmetrics.functional.classification import multiclass_calibration_error

from persistill.errors import UserError
from persistill.metrics import accuracy, classwise_ece, ece, ece_equal_mass, fit_temperature, nll

many = pytest.mark.parametrize(("n", "k", "seed"), [(1, 2, 0), (7, 3, 1), (200, 10, 2), (500, 20, 3)])
some_bins = pytest.mark.parametrize("bins", [1, 2, 10, 15])


def gap_by_loops(confidences, hits, bins):
    """The sum of |hits - confidence| over equal-width bins, divided by the number of images."""
    total = 0.0
    for m in range(bins):
        inside = [i for i, value in enumerate(confidences) if m / bins < value <= (m + 1) / bins]
        if inside:
            share = sum(hits[i] for i in inside) / len(inside)
            mean = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(share - mean)
    return total


@many
@some_bins
def test_ece_is_that_of_the_loops(n, k, seed, bins):
    logits, target = random_logits(n, k, seed)
    rows = shares(logits)
    expected = gap_by_loops(rows.max(1), rows.argmax(1) == target.numpy(), bins)
    assert ece(logits, target, bins) == pytest.approx(expected, abs=1e-12)


@many
@some_bins
def test_classwise_ece_is_that_of_the_loops(n, k, seed, bins):
    logits, target = random_logits(n, k, seed)
    rows = shares(logits)
    expected = np.mean([gap_by_loops(rows[:, c], target.numpy() == c, bins) for c in range(k)])
    assert classwise_ece(logits, target, bins) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n", "bins"), [(10, 5), (11, 5), (12, 5), (200, 15), (7, 15)])
def test_bins_of_equal_mass_hold_equally_many(n, bins):
    logits, target = random_logits(n, 10, n, scale=1.5)  # too sure of some, not of others
    rows = shares(logits)
    order = np.argsort(rows.max(1))
    ends = [math.ceil(m * n / bins) for m in range(bins + 1)]
    assert max(np.diff(ends)) - min(np.diff(ends)) <= 1
    difference = (rows.argmax(1) == target.numpy()).astype(float) - rows.max(1)
    expected = sum(abs(difference[order[a:b]].sum()) for a, b in pairwise(ends)) / n
    assert ece_equal_mass(logits, target, bins) == pytest.approx(expected, abs=1e-12)


def test_equal_confidences_share_a_bin():
    # Two bins of two would part the three images of confidence 0.8; the edge is moved behind them.
    logits = torch.tensor([[math.log(4.0), 0.0]] * 3 + [[math.log(9.0), 0.0]], dtype=torch.float64)
    target = torch.tensor([0, 1, 0, 0])
    assert ece_equal_mass(logits, target, 2) == pytest.approx((abs(2 - 3 * 0.8) + abs(1 - 0.9)) / 4)


def test_ece_is_that_of_torchmetrics_where_no_confidence_rounds_to_one():
    logits, target = random_logits(400, 10, 5, scale=1.0)
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


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(2, 12), st.integers(0, 10**6))
def test_merging_bins_cannot_raise_an_error(n, k, seed):
    logits, target = random_logits(n, k, seed)
    for metric in (ece, classwise_ece):  # |a + b| <= |a| + |b|
        assert metric(logits, target, 5) <= metric(logits, target, 15) + 1e-12
    # One bin is the same bin, however it is cut.
    assert ece_equal_mass(logits, target, 1) == pytest.approx(ece(logits, target, 1), abs=1e-12)


@pytest.mark.parametrize("metric", [ece, ece_equal_mass, classwise_ece])
def test_no_bins_are_an_error(metric):
    with pytest.raises(UserError, match="bins=0"):
        metric(torch.zeros(1, 2), torch.tensor([0]), 0)


@pytest.mark.parametrize(("n", "k", "seed", "scale"), [(50, 3, 0, 1.0), (300, 10, 1, 4.0), (300, 10, 2, 0.3)])
def test_the_temperature_has_the_least_likelihood_that_scipy_finds(n, k, seed, scale):
    logits, target = random_logits(n, k, seed, scale)
    found = minimize_scalar(
        lambda log_t: nll(logits.double() / math.exp(log_t), target),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fit_temperature(logits, target) == pytest.approx(math.exp(found.x), rel=1e-5)


def test_the_temperature_is_the_one_that_l_bfgs_finds():
    logits, target = random_logits(300, 10, 7)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_t], tolerance_grad=1e-12, tolerance_change=1e-15, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits.double() / log_t.exp(), target)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(logits, target) == pytest.approx(float(log_t.detach().exp()), rel=1e-6)


def test_the_temperature_by_hand():
    # Logits (a, 0), right in three of four cases: p = 3/4 is best, so a / T = log 3.
    logits = torch.tensor([[5.0, 0.0]] * 4)
    assert fit_temperature(logits, torch.tensor([0, 0, 1, 0])) == pytest.approx(5 / math.log(3))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60), st.integers(2, 8), st.integers(0, 10**6), st.floats(0.5, 2))
def test_the_temperature_scales_with_the_logits(n, k, seed, factor):
    logits, target = random_logits(n, k, seed)
    temperature = fit_temperature(logits, target)
    if 0.2 < temperature < 8:  # not cut off at the bounds, nor undefined
        assert fit_temperature(factor * logits.double(), target) == pytest.approx(
            factor * temperature if temperature != 1 else 1, rel=1e-6
        )
        assert nll(logits.double() / temperature, target) <= nll(logits, target) + 1e-12
        assert accuracy(logits.double() / temperature, target) == accuracy(logits, target)


def test_where_there_is_no_minimum_the_temperature_stays_one():
    logits = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == 1.0  # all right: the colder the better
    assert fit_temperature(torch.zeros(2, 3), torch.tensor([0, 1])) == 1.0  # no temperature changes anything


def test_a_temperature_out_of_range_is_the_nearer_bound():
    logits = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, torch.tensor([1, 0])) == pytest.approx(20)  # all wrong: the warmer the better
    assert fit_temperature(logits / 1e4, torch.tensor([0, 0])) == pytest.approx(0.05)
