"""Paired differences against a naive bootstrap and Student's interval; and intervals hold what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from persistill.errors import UserError
from persistill.report.significance import (
    Difference,
    paired_difference,
    paired_drawn_difference,
    paired_ratio_difference,
    sentence,
    student_quantile,
)


def naive(differences: np.ndarray, draws: int, seed: int) -> tuple[float, float]:
    """The bootstrap of the docstring, one draw after the other."""
    random = np.random.default_rng(seed)
    seeds, images = differences.shape
    means = differences.mean(1)
    factor = math.sqrt(seeds / (seeds - 1)) * t.ppf(0.975, seeds - 1) / 1.959964 if seeds > 1 else 1
    stretched = np.array([row + (factor - 1) * (mean - means.mean()) for row, mean in zip(differences, means)])  # noqa: B905
    values = []
    for _ in range(draws):
        chosen = random.integers(seeds, size=seeds)
        seen = random.integers(images, size=images)
        values.append(np.mean([stretched[s, i] for s in chosen for i in seen]))
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


@pytest.mark.parametrize("seeds", [1, 3, 6])
def test_the_interval_is_that_of_the_naive_bootstrap(seeds):
    random = np.random.default_rng(seeds)
    arm, baseline = (random.random((seeds, 40)) < 0.7).astype(float), random.random((seeds, 40))
    arm += 0.2 * random.normal(size=(seeds, 1))
    found = paired_difference(arm, baseline)
    low, high = naive(arm - baseline, 3000, 0)
    assert found.mean == pytest.approx((arm - baseline).mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08 * (high - low))
    assert (found.seeds, found.images) == (seeds, 40)


@pytest.mark.parametrize("seeds", [3, 8])
def test_where_only_seeds_differ_the_interval_is_about_students(seeds):
    values = np.random.default_rng(1).normal(size=(seeds, 1))
    found = paired_difference(np.repeat(values, 30, axis=1), np.zeros((seeds, 30)))
    half = t.ppf(0.975, seeds - 1) * values.std(ddof=1) / math.sqrt(seeds)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.2)


@pytest.mark.parametrize(
    ("seeds", "of_seed", "of_image", "of_both"),
    [(1, 0, 1, 1), (2, 1, 0.1, 0.1), (3, 1, 0.1, 0.1), (3, 0.2, 1, 1), (5, 0.3, 1, 2), (10, 1, 1, 1)],
)
def test_intervals_hold_the_truth_as_often_as_they_promise(seeds, of_seed, of_image, of_both):
    random = np.random.default_rng(seeds)
    trials, images, held = 300, 50, 0
    for _ in range(trials):
        arm = 0.3 + of_seed * random.normal(size=(seeds, 1)) + of_image * random.normal(size=(1, images))
        arm = arm + of_both * random.normal(size=(seeds, images))
        found = paired_difference(arm, np.zeros_like(arm))
        held += found.low <= 0.3 <= found.high
    # Three standard errors of 95 % in 300 trials are 3.8 %.
    assert held / trials > 0.91


def test_pairs_take_out_what_both_arms_share():
    random = np.random.default_rng(0)
    hard = random.random((1, 500)) < 0.3  # images that every network gets wrong
    luck = random.random((3, 500)) < 0.1
    baseline = (~hard).astype(float) * np.ones((3, 1))
    found = paired_difference(np.maximum(baseline, luck), baseline)
    assert found.verdict == "better"
    assert found.high - found.low < 0.04
    unpaired = paired_difference(np.maximum(baseline, luck), baseline[:, random.permutation(500)])
    assert unpaired.verdict == "not distinguishable"


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 10**6), st.floats(-3, 3))
def test_signs_shifts_and_order(seeds, images, seed, shift):
    random = np.random.default_rng(seed)
    arm, baseline = random.normal(size=(2, seeds, images))
    found = paired_difference(arm, baseline)
    assert found.low <= found.high
    swapped = paired_difference(baseline, arm)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((-found.mean, -found.high, -found.low), abs=1e-9)
    moved = paired_difference(arm + shift, baseline)
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (found.mean + shift, found.low + shift, found.high + shift), abs=1e-9
    )
    assert paired_difference(arm, baseline) == found


def test_equal_arms_are_not_distinguishable():
    figures = np.random.default_rng(0).random((3, 20))
    found = paired_difference(figures, figures)
    assert (found.mean, found.low, found.high, found.verdict) == (0, 0, 0, "not distinguishable")


@pytest.mark.parametrize(
    ("low", "high", "larger", "verdict"),
    [
        (0.1, 0.3, True, "better"),
        (0.1, 0.3, False, "worse"),
        (-0.3, -0.1, True, "worse"),
        (-0.3, -0.1, False, "better"),
        (-0.1, 0.3, True, "not distinguishable"),
        (0.0, 0.3, True, "not distinguishable"),
    ],
)
def test_the_verdict_needs_an_interval_without_zero(low, high, larger, verdict):
    assert Difference(0.1, low, high, 3, 100, larger).verdict == verdict


def test_sentences_carry_the_interval():
    def points(value: float) -> str:
        return f"{100 * value:+.2f} points"

    better = sentence("tgd", "alone", Difference(0.012, 0.004, 0.02, 3, 10_000), "accuracy", points)
    assert better == (
        "tgd is better than alone in accuracy: it differs by +1.20 points, 95 % interval +0.40 points to +2.00 points, "
        "over 3 seeds and 10,000 test images."
    )
    same = sentence("kd", "alone", Difference(0.001, -0.004, 0.006, 1, 360), "NLL")
    assert same == (
        "kd is not distinguishable from alone in NLL: it differs by 0.001, 95 % interval -0.004 to 0.006, over 360 "
        "test images. Only one seed was trained, so how much another seed would change is not in the interval."
    )


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 6, 7, 10, 19, 50, 1000])
def test_the_quantile_is_that_of_scipy(freedom):
    assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), abs=5e-4)


@pytest.mark.parametrize(
    ("arm", "baseline", "said"),
    [
        (np.zeros((2, 3)), np.zeros((3, 3)), r"\(2, 3\) and \(3, 3\)"),
        (np.zeros(3), np.zeros(3), r"\(3,\) and \(3,\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), r"\(0, 3\)"),
        (np.full((1, 2), np.inf), np.zeros((1, 2)), "finite"),
    ],
)
def test_what_cannot_be_compared_is_said(arm, baseline, said):
    with pytest.raises(UserError, match=said):
        paired_difference(arm, baseline)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_ratio_whose_denominators_are_one_is_a_mean(seeds):
    random = np.random.default_rng(seeds)
    arm, baseline = random.random((seeds, 40)), random.random((seeds, 40))
    parts = [np.stack([values, np.ones_like(values)], -1)[:, :, None] for values in (arm, baseline)]
    found, mean = paired_ratio_difference(*parts, larger_is_better=False), paired_difference(arm, baseline)
    assert (found.mean, found.low, found.high) == pytest.approx((mean.mean, mean.low, mean.high))
    assert (found.seeds, found.images, found.larger_is_better) == (seeds, 40, False)


def test_a_ratio_is_that_of_the_sums_and_not_the_mean_of_ratios():
    # Class 0: 1/1 and 1/3, together 2/4. Class 1 is in the second image alone: 1/2. Class 2 is nowhere.
    arm = np.array([[[[1, 1], [0, 0], [0, 0]], [[1, 3], [1, 2], [0, 0]]]])
    assert paired_ratio_difference(arm, 0 * arm).mean == pytest.approx((2 / 4 + 1 / 2) / 2)


def test_the_interval_of_ratios_is_that_of_the_naive_bootstrap():
    random = np.random.default_rng(3)
    seeds, images, classes = 2, 30, 3
    arm, baseline = (
        np.stack([union * random.random((seeds, images, classes)), union], -1)
        for union in random.integers(0, 9, (2, seeds, images, classes))
    )

    def figure(parts: np.ndarray, chosen: np.ndarray) -> float:
        sums = parts[chosen].sum(0)
        return float(np.mean([numerator / denominator for numerator, denominator in sums if denominator]))

    every = np.arange(images)
    whole = np.array([figure(arm[s], every) - figure(baseline[s], every) for s in range(seeds)])
    stretch = math.sqrt(seeds / (seeds - 1)) * t.ppf(0.975, seeds - 1) / 1.959964
    values = []
    for _ in range(1500):
        chosen, seen = random.integers(seeds, size=seeds), random.integers(images, size=images)
        own = [
            figure(arm[s], seen) - figure(baseline[s], seen) + (stretch - 1) * (whole[s] - whole.mean()) for s in chosen
        ]
        values.append(np.mean(own))
    found = paired_ratio_difference(arm, baseline)
    low, high = np.quantile(values, [0.025, 0.975])
    assert found.mean == pytest.approx(whole.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08 * (high - low))


@pytest.mark.parametrize(
    ("shape", "other"), [((2, 5, 3, 2), (2, 5, 4, 2)), ((2, 5, 3), (2, 5, 3)), ((0, 5, 3, 2), (0, 5, 3, 2))]
)
def test_ratios_of_other_shapes_are_refused(shape, other):
    with pytest.raises(UserError, match="numerator and a denominator"):
        paired_ratio_difference(np.zeros(shape), np.zeros(other))


def test_ratios_that_are_not_finite_are_refused():
    parts = np.ones((1, 2, 1, 2))
    with pytest.raises(UserError, match="finite"):
        paired_ratio_difference(parts, parts * np.nan)


def test_figures_of_draws_are_compared_like_those_of_images():
    random = np.random.default_rng(0)
    arm, baseline = random.random((3, 40)) + 0.1, random.random((3, 40))
    drawn = [random.integers(40, size=40) for _ in range(3000)]

    def of_draws(figures: np.ndarray) -> np.ndarray:
        return np.stack([figures.mean(1), *(figures[:, rows].mean(1) for rows in drawn)], 1)

    found = paired_drawn_difference(of_draws(arm), of_draws(baseline), 40)
    expected = paired_difference(arm, baseline)
    assert found.mean == pytest.approx(expected.mean)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.1 * (found.high - found.low))
    assert (found.seeds, found.images) == (3, 40)


def test_draws_without_a_figure_do_not_count():
    arm, baseline = np.array([[0.5, 0.4, np.nan, 0.6]]), np.array([[0.1, 0.1, 0.1, 0.2]])
    found = paired_drawn_difference(arm, baseline, 9)
    assert (found.mean, found.low >= 0.3, found.high <= 0.4) == (0.4, True, True)
    with pytest.raises(UserError, match="finite"):
        paired_drawn_difference(arm[:, [2, 0]], baseline[:, [2, 0]], 9)
    with pytest.raises(UserError, match="the same"):
        paired_drawn_difference(arm, baseline[:, :3], 9)
