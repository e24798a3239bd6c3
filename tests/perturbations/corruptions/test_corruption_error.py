"""Mean corruption errors, by hand."""

import math

import pytest

from persistill.errors import UserError
from persistill.perturbations.corruptions import (
    CORRUPTIONS,
    EXTRA_CORRUPTIONS,
    corruption_error,
    mean_accuracies,
    relative_corruption_error,
)

OWN = {"fog": {"1": 0.9, "2": 0.7}, "snow": {"1": 0.5, "2": 0.5}, "spatter": {"1": 0.0, "2": 0.0}}
OTHER = {"fog": {"1": 0.8, "2": 0.8}, "snow": {"1": 0.0, "2": 0.5}, "spatter": {"1": 1.0, "2": 1.0}}


def test_the_mean_corruption_error_counts_the_fifteen():
    assert corruption_error(OWN) == pytest.approx((0.2 + 0.5) / 2)
    assert corruption_error({name: {"1": 0.25} for name in CORRUPTIONS + EXTRA_CORRUPTIONS}) == pytest.approx(0.75)
    assert math.isnan(corruption_error({"spatter": {"1": 0.3}}))


def test_relative_to_a_baseline_is_the_mean_of_ratios_of_sums():
    assert relative_corruption_error(OWN, OTHER) == pytest.approx((0.4 / 0.4 + 1.0 / 1.5) / 2)
    assert relative_corruption_error(OTHER, OTHER) == pytest.approx(1)


def test_a_baseline_without_errors_says_nothing():
    perfect = {name: {"1": 1.0, "2": 1.0} for name in OWN}
    assert math.isnan(relative_corruption_error(OWN, perfect))
    assert relative_corruption_error(OWN, {**perfect, "snow": OTHER["snow"]}) == pytest.approx(1.0 / 1.5)


def test_a_baseline_of_several_networks_is_their_mean():
    assert mean_accuracies([OWN, OTHER])["fog"] == pytest.approx({"1": 0.85, "2": 0.75})
    assert mean_accuracies([OWN]) == OWN


def test_two_that_were_measured_on_different_images():
    with pytest.raises(UserError, match="fog, snow, spatter and fog were given"):
        relative_corruption_error(OWN, {"fog": OTHER["fog"]})
    with pytest.raises(UserError, match="same corruptions and severities"):
        relative_corruption_error({"fog": {"1": 0.5}}, {"fog": {"2": 0.5}})
