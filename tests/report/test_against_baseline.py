"""Arms against their baseline, read from run folders."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from persistill.errors import UserError
from persistill.report import read
from persistill.report.against_baseline import against_baseline


def stored(comparison, arm: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    run = next(run for run in comparison.arms[arm].runs if run.seed == seed)
    with np.load(run.evaluation / "predictions.npz") as file:
        return file["target"], file["logits"].astype(np.float64)


def test_differences_are_those_of_the_stored_answers(finished: Path):
    comparison = read(finished)
    accuracy, nll = (against_baseline(comparison, measure) for measure in comparison.task.differences)
    assert list(accuracy) == list(nll) == [arm.name for arm in comparison.arms[1:]]
    for number, arm in enumerate(comparison.arms[1:], 1):
        rights, losses = [], []
        for seed in arm.seeds:
            for which, sign in ((number, 1), (0, -1)):
                target, logits = stored(comparison, which, seed)
                rights.append(sign * (logits.argmax(1) == target).mean())
                powers = np.exp(logits)
                losses.append(sign * log_loss(target, powers / powers.sum(1, keepdims=True)))
        assert accuracy[arm.name].mean == pytest.approx(sum(rights) / len(arm.seeds))
        assert nll[arm.name].mean == pytest.approx(sum(losses) / len(arm.seeds))
        assert accuracy[arm.name].mean == pytest.approx(arm.score.mean - comparison.arms[0].score.mean)
        assert (accuracy[arm.name].seeds, accuracy[arm.name].images) == (len(arm.seeds), 200)
        assert (accuracy[arm.name].larger_is_better, nll[arm.name].larger_is_better) == (True, False)


def test_only_seeds_of_both_arms_are_paired(finished: Path):
    comparison = read(finished)
    baseline, first, *others = comparison.arms
    fewer = replace(comparison, arms=(replace(baseline, runs=baseline.runs[1:]), first, *others))
    found = against_baseline(fewer)[first.name]
    assert found.seeds == len(first.runs) - 1
    expected = []
    for seed in first.seeds[1:]:
        for which, sign in ((1, 1), (0, -1)):
            target, logits = stored(comparison, which, seed)
            expected.append(sign * (logits.argmax(1) == target).mean())
    assert found.mean == pytest.approx(sum(expected) / found.seeds)
    none = replace(comparison, arms=(replace(baseline, runs=()), first, *others))
    assert against_baseline(none) == {}
    assert against_baseline(replace(comparison, arms=())) == {}


def test_networks_of_different_images_are_not_compared(maker):
    comparison = read(maker.comparison())
    run = comparison.arms[1].runs[0]
    with np.load(run.evaluation / "predictions.npz") as file:
        arrays = {name: file[name] for name in file}
    order = np.random.default_rng(0).permutation(len(arrays["target"]))
    np.savez(run.evaluation / "predictions.npz", target=arrays["target"][order], logits=arrays["logits"][order])
    with pytest.raises(UserError, match="other images"):
        against_baseline(comparison)


def test_figures_of_draws_are_read_where_they_are_stored(maker):
    comparison = read(maker.comparison())
    for number, arm in enumerate(comparison.arms):
        for run in arm.runs:
            drawn = np.linspace(0.4, 0.5, 101) + 0.1 * number
            np.savez(run.evaluation / "draws.npz", accuracy=drawn, validation_accuracy=drawn - 0.2)
    found = against_baseline(comparison)
    for number, arm in enumerate(comparison.arms[1:], 1):
        assert found[arm.name].mean == pytest.approx(0.1 * number)
        assert (found[arm.name].images, found[arm.name].verdict) == (200, "better")
    np.savez(comparison.arms[1].runs[0].evaluation / "draws.npz", accuracy=np.ones(5))
    with pytest.raises(UserError, match="other images"):
        against_baseline(comparison)
