"""Accuracy, top-k, NLL and Brier score against loops, scikit-learn, torchmetrics and cases worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logits import random_logits, shares
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_accuracy

from persistill.errors import UserError
from persistill.metrics import (
    accuracy,
    aurc,
    brier,
    class_scores,
    classwise_ece,
    ece,
    ece_equal_mass,
    fit_temperature,
    nll,
    top_k,
)


def macro_f1(logits, target):
    return class_scores(logits, target).macro_f1


METRICS = [accuracy, macro_f1, top_k, nll, brier, ece, ece_equal_mass, classwise_ece, aurc, fit_temperature]

many = pytest.mark.parametrize(("n", "k", "seed"), [(1, 2, 0), (7, 3, 1), (200, 10, 2), (500, 100, 3)])


@many
def test_accuracy_is_that_of_scikit_learn_and_torchmetrics(n, k, seed):
    logits, target = random_logits(n, k, seed)
    expected = accuracy_score(target.numpy(), logits.numpy().argmax(1))
    assert accuracy(logits, target) == pytest.approx(expected, abs=1e-12)
    other = multiclass_accuracy(logits, target, num_classes=k, average="micro")
    assert accuracy(logits, target) == pytest.approx(float(other), abs=1e-6)


@many
@pytest.mark.parametrize("best", [1, 2, 5, 1000])
def test_top_k_counts_right_classes_among_the_best(n, k, seed, best):
    logits, target = random_logits(n, k, seed)
    ranked = np.argsort(-logits.numpy(), axis=1)[:, :best]
    expected = np.mean([right in row for right, row in zip(target.tolist(), ranked.tolist(), strict=True)])
    assert top_k(logits, target, best) == pytest.approx(expected, abs=1e-12)
    if best == 1:
        assert top_k(logits, target, 1) == accuracy(logits, target)
    if best < k:
        other = multiclass_accuracy(logits, target, num_classes=k, average="micro", top_k=best)
        assert top_k(logits, target, best) == pytest.approx(float(other), abs=1e-6)


def test_the_lower_class_wins_a_tie_in_top_k():
    logits = torch.zeros(4, 4)
    target = torch.arange(4)
    assert [top_k(logits, target, best) for best in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert top_k(logits, target, 1) == accuracy(logits, target)


@many
def test_nll_and_brier_are_those_of_scikit_learn(n, k, seed):
    logits, target = random_logits(n, k, seed)
    rows, labels = shares(logits), list(range(k))
    assert nll(logits, target) == pytest.approx(log_loss(target.numpy(), rows, labels=labels), rel=1e-9)
    expected = brier_score_loss(target.numpy(), rows, labels=labels, scale_by_half=False)
    assert brier(logits, target) == pytest.approx(expected, rel=1e-9)


def test_brier_by_hand():
    # Probabilities 0.8, 0.2: wrong, 0.64 + 0.64; right, 0.04 + 0.04.
    logits = torch.tensor([[math.log(4.0), 0.0], [math.log(4.0), 0.0]])
    assert brier(logits, torch.tensor([1, 0])) == pytest.approx((1.28 + 0.08) / 2)


def test_a_network_that_knows_nothing():
    logits, target = torch.zeros(40, 10), torch.arange(40) % 10
    assert nll(logits, target) == pytest.approx(math.log(10))
    assert brier(logits, target) == pytest.approx(0.9)
    assert (accuracy(logits, target), top_k(logits, target)) == (0.1, 0.5)
    assert ece(logits, target) == pytest.approx(0, abs=1e-12)
    assert classwise_ece(logits, target) == pytest.approx(0, abs=1e-12)
    assert aurc(logits, target) == pytest.approx(0.9)


def test_a_network_that_is_sure_and_wrong():
    logits, target = torch.zeros(5, 3), torch.ones(5, dtype=torch.int64)
    logits[:, 0] = 100
    assert (accuracy(logits, target), ece(logits, target), aurc(logits, target)) == (0.0, 1.0, 1.0)
    assert nll(logits, target) == pytest.approx(100)
    assert brier(logits, target) == pytest.approx(2)
    # Class 0 is never right and always expected, class 1 the other way round, class 2 neither.
    assert classwise_ece(logits, target) == pytest.approx(2 / 3)


def test_a_class_that_is_ruled_out_is_no_error():
    logits, target = torch.tensor([[0.0, -math.inf, 0.0]]), torch.tensor([0])
    assert nll(logits, target) == pytest.approx(math.log(2))
    assert brier(logits, target) == pytest.approx(0.5)
    for metric in METRICS:
        assert math.isfinite(metric(logits, target))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 60), st.integers(2, 12), st.integers(0, 10**6), st.floats(-50, 50))
def test_metrics_see_neither_the_order_of_images_nor_a_constant_added_to_logits(n, k, seed, shift):
    logits, target = random_logits(n, k, seed)
    logits = (1024 * logits.double()).round() / 1024  # exact, so that a shift parts nothing that is equally sure
    order = torch.tensor(np.random.default_rng(seed).permutation(n))
    for metric in METRICS:
        value = metric(logits, target)
        assert metric(logits[order], target[order]) == pytest.approx(value, abs=1e-9)
        if metric is not ece_equal_mass:  # whose edges are confidences themselves
            assert metric(logits + round(shift), target) == pytest.approx(value, abs=1e-9)
    for metric in (accuracy, macro_f1, top_k, ece, ece_equal_mass, classwise_ece, aurc):
        assert 0 <= metric(logits, target) <= 1
    assert 0 <= brier(logits, target) <= 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("logits", "target", "said"),
    [
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64), r"\(3, 2\) and \(4,\)"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64), r"\(3,\) and \(3,\)"),
        (torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64), r"\(3, 2\) and \(3, 2\)"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), r"nothing to measure.*\(0, 2\)"),
        (torch.zeros(3, 0), torch.zeros(3, dtype=torch.int64), r"nothing to measure.*\(3, 0\)"),
        (torch.zeros(2, 2), torch.zeros(2), "integers; its type is torch.float32"),
        (torch.zeros(2, 2), torch.tensor([True, False]), "integers; its type is torch.bool"),
        (torch.zeros(3, 2), torch.tensor([0, 2, 1]), r"from 0 to 1.*target\[1\] is 2"),
        (torch.zeros(3, 2), torch.tensor([0, 1, -1]), r"from 0 to 1.*target\[2\] is -1"),
        (
            torch.tensor([[0.0, 1], [math.nan, 0]]),
            torch.tensor([0, 0]),
            "1 of 2 images, the first at row 1",
        ),
        (torch.tensor([[math.inf, 1], [0, 0]]), torch.tensor([0, 0]), r"\+inf for 1 of 2 images"),
    ],
)
def test_what_cannot_be_measured_is_said(metric, logits, target, said):
    with pytest.raises(UserError, match=said):
        metric(logits, target)


def test_no_k_is_an_error():
    with pytest.raises(UserError, match="at least 1; 0 was given"):
        top_k(torch.zeros(1, 2), torch.tensor([0]), 0)


def test_images_of_a_class_are_counted_in_integers_where_nothing_is_right():
    found = class_scores(torch.eye(3), torch.tensor([1, 2, 0]))
    assert found.recall == (0, 0, 0)
    assert all(type(count) is int for count in found.support)
    assert found.support == (1, 1, 1)


def test_class_scores_of_a_case_worked_out_by_hand():
    # Answers 0 0 1 1 1 to targets 0 1 1 1 2, of four classes.
    logits = torch.eye(4)[torch.tensor([0, 0, 1, 1, 1])]
    found = class_scores(logits, torch.tensor([0, 1, 1, 1, 2]))
    assert found.precision[:2] == (1 / 2, 2 / 3)
    assert all(math.isnan(value) for value in found.precision[2:])
    assert found.recall[:3] == (1.0, 2 / 3, 0.0)
    assert math.isnan(found.recall[3])
    assert found.f1[:3] == pytest.approx((2 / 3, 2 / 3, 0.0))
    assert found.support == (1, 3, 1, 0)
    assert found.balanced_accuracy == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert found.macro_f1 == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
