"""The risk-coverage curve against all orders of ties, and its area."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logits import random_logits, shares

from persistill.metrics import accuracy, aurc, risk_coverage


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 80), st.integers(2, 10), st.integers(0, 10**6))
def test_the_curve_is_that_of_the_loop(n, k, seed):
    logits, target = random_logits(n, k, seed)
    rows = shares(logits)
    wrong = (rows.argmax(1) != target.numpy())[np.argsort(-rows.max(1), kind="stable")]
    expected = [wrong[:count].mean() for count in range(1, n + 1)]
    curve = risk_coverage(logits, target)
    assert curve.numpy() == pytest.approx(np.array(expected), abs=1e-12)
    assert float(curve[-1]) == pytest.approx(1 - accuracy(logits, target))
    assert aurc(logits, target) == pytest.approx(np.mean(expected))


def test_ties_count_as_the_mean_over_all_orders():
    confident, doubtful = [2.0, 0.0], [0.5, 0.0]
    logits = torch.tensor([doubtful, confident, doubtful, doubtful, confident])
    target = torch.tensor([0, 1, 1, 0, 0])
    wrong = [0, 1, 1, 0, 0]
    curves = [
        np.cumsum([wrong[i] for i in first + second]) / np.arange(1, 6)
        for first in permutations([1, 4])
        for second in permutations([0, 2, 3])
    ]
    assert risk_coverage(logits, target).numpy() == pytest.approx(np.mean(curves, 0))


@pytest.mark.parametrize("error", [0.1, 0.5])
def test_the_least_area_is_the_one_of_the_docstring(error):
    n = 4000
    wrong = round(n * error)
    margin = torch.linspace(1, 5, n, dtype=torch.float64)
    logits = torch.stack([margin, torch.zeros(n)], 1)
    target = (torch.arange(n) < wrong).long()  # the least confident answers are the wrong ones
    assert aurc(logits, target) == pytest.approx(error + (1 - error) * math.log(1 - error), abs=1e-3)
