"""What the best of many would reach by chance, against simulation and enumeration."""

import itertools
import statistics

import numpy as np
import pytest

from persistill.report.sweep_chance import best_of_draws, expected_best, image_noise, seed_noise


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_the_best_of_equal_draws(count: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((200_000, count)).max(axis=1).mean()
    assert expected_best(count) == pytest.approx(drawn, abs=0.03)


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("draws", [1, 2, 4, 5])
def test_the_best_of_some_of_these(draws: int, larger: bool) -> None:
    values = [0.3, 0.9, 0.1, 0.4, 0.4]
    best = max if larger else min
    every = [best(some) for some in itertools.combinations(values, draws)]
    assert best_of_draws(values, draws, larger_is_better=larger) == pytest.approx(statistics.fmean(every))


def test_noise_between_seeds_is_pooled_within_trials() -> None:
    assert seed_noise([[0.5], [0.7]]) is None
    assert seed_noise([[0.4, 0.6], [0.1, 0.3], [0.9]]) == pytest.approx(statistics.stdev([0.4, 0.6]))
    assert seed_noise([[0.0, 0.2, 0.4], [0.5, 0.5]]) == pytest.approx((2 * 0.2**2 / 3) ** 0.5)


def test_noise_of_few_images() -> None:
    assert image_noise(0.5, 100) == pytest.approx(0.05)
    assert image_noise(1.0, 100) == 0.0
