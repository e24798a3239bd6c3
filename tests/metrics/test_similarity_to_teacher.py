"""Likeness of two networks against GUDHI, SciPy, plain NumPy, scikit-learn and cases worked out by hand."""

import math

import gudhi
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logits import random_logits, shares
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist
from scipy.stats import entropy
from sklearn.metrics import completeness_score, homogeneity_score

from persistill.errors import UserError
from persistill.metrics import agreement, cka, diagram_distance, mean_kl, v_measure


def cloud(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=(n, d)))


def test_agreement_and_kl_by_other_means():
    (teacher, _), (student, _) = random_logits(200, 7, 0), random_logits(200, 7, 1)
    expected = np.mean(teacher.numpy().argmax(1) == student.numpy().argmax(1))
    assert agreement(student, teacher) == pytest.approx(expected)
    assert mean_kl(student, teacher) == pytest.approx(np.mean(entropy(shares(teacher), shares(student), axis=1)))


def test_the_divergence_is_from_the_teacher():
    # 1/2, 1/2 against 4/5, 1/5 and the other way round.
    even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(4.0), 0.0]])
    assert mean_kl(sure, even) == pytest.approx(0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2))
    assert mean_kl(even, sure) == pytest.approx(0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5))


def test_equal_networks_are_alike():
    logits, target = random_logits(60, 5, 2)
    assert (agreement(logits, logits), mean_kl(logits, logits + 3)) == (1.0, pytest.approx(0, abs=1e-12))
    points = cloud(60, 4, 3)
    assert (cka(points, points), diagram_distance(points, points)) == (pytest.approx(1), 0)
    assert v_measure(torch.eye(5)[target], target, 5) == pytest.approx(1)


def test_cka_is_the_one_of_centered_gram_matrices():
    # The other form of the paper, equation 4: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).
    x, y = cloud(40, 6, 4), torch.cat([cloud(40, 6, 4)[:, :2] ** 2, cloud(40, 3, 5)], 1)
    center = np.eye(40) - 1 / 40
    k, l = (center @ (m.numpy() @ m.numpy().T) @ center for m in (x, y))  # noqa: E741
    expected = (k * l).sum() / math.sqrt((k * k).sum() * (l * l).sum())
    assert 0.1 < expected < 0.9
    assert cka(x, y) == pytest.approx(expected)
    assert cka(x.half(), y.half()) == pytest.approx(expected, abs=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(5, 40), st.integers(1, 6), st.integers(0, 10**6), st.floats(0.01, 100))
def test_rotation_scale_and_shift_change_nothing(n, d, seed, scale):
    x, y = cloud(n, d, seed), cloud(n, 3, seed + 1)
    rotation = torch.linalg.qr(cloud(d, d, seed + 2)).Q
    moved = scale * x @ rotation + 5
    assert cka(moved, y) == pytest.approx(cka(x, y), abs=1e-6)
    assert cka(moved, x) == pytest.approx(1)
    assert diagram_distance(moved, y) == pytest.approx(diagram_distance(x, y), abs=1e-5)
    order = torch.tensor(np.random.default_rng(seed).permutation(n))
    assert diagram_distance(x[order], y) == pytest.approx(diagram_distance(x, y), abs=1e-5)


def test_a_constant_embedding_has_nothing_in_common():
    assert cka(torch.ones(10, 3), cloud(10, 2, 0)) == 0
    apart = diagram_distance(torch.ones(10, 3), cloud(10, 2, 0))
    assert math.isfinite(apart)
    assert apart > 0


def test_the_distance_of_shapes_is_that_of_gudhi_and_scipy():
    clouds = cloud(30, 3, 8), torch.cat([cloud(15, 5, 9), cloud(15, 5, 10) + 6])
    diagrams = []
    for points in clouds:
        unit = points.numpy() / math.sqrt(np.mean(pdist(points.numpy(), "sqeuclidean")))
        tree = gudhi.RipsComplex(points=unit).create_simplex_tree(max_dimension=1)
        tree.compute_persistence()
        bars = tree.persistence_intervals_in_dimension(0)
        diagrams.append(bars[np.isfinite(bars[:, 1])])
    # Each bar may go to a bar of the other diagram, or to its own place on the diagonal, half its length away.
    first, second = (bars[:, 1] for bars in diagrams)
    cost = np.block(
        [
            [np.abs(first[:, None] - second), np.tile(first[:, None] / 2, len(first))],
            [np.tile(second / 2, (len(second), 1)), np.zeros((len(second), len(first)))],
        ]
    )
    expected = cost[linear_sum_assignment(cost)].sum() / 29
    assert expected > 0.05
    assert diagram_distance(*clouds) == pytest.approx(expected, rel=1e-5)


def test_the_distance_of_shapes_by_hand():
    # 0, 1 and 0, 3 have mean squared distances 1 and 9: both are one bar of length 1. Three points 0, 1, 2 have mean
    # squared distance 2 and two bars 1/sqrt 2; of 0, 0, 1 it is 2/3, and one bar of length sqrt(3/2) stands alone.
    assert diagram_distance(torch.tensor([[0.0], [1]]), torch.tensor([[0.0], [3]])) == pytest.approx(0)
    first, second = torch.tensor([[0.0], [1], [2]]), torch.tensor([[0.0], [0], [1]])
    short, long = 1 / math.sqrt(2), math.sqrt(3 / 2)
    assert diagram_distance(first, second) == pytest.approx(((long - short) + short / 2) / 2, rel=1e-6)


def test_clusters_are_compared_with_classes():
    random = np.random.default_rng(0)
    target = torch.tensor(random.integers(3, size=120))
    centers = torch.tensor([[0.0, 0], [9, 0], [9, 0]])  # two classes lie on each other
    embedding = centers[target] + 0.1 * cloud(120, 2, 1)
    found = v_measure(embedding, target, 2)
    merged = (target > 0).long().numpy()
    parts = homogeneity_score(target, merged), completeness_score(target, merged)
    assert parts[1] == pytest.approx(1)
    assert found == pytest.approx(2 / (1 / parts[0] + 1 / parts[1]))


def test_fewer_images_than_clusters_are_no_error():
    assert 0 <= v_measure(torch.zeros(3, 2), torch.tensor([0, 1, 2]), 10) <= 1


@pytest.mark.parametrize("metric", [agreement, mean_kl])
def test_logits_must_belong_together(metric):
    with pytest.raises(UserError, match=r"\(3, 4\) and \(3, 5\)"):
        metric(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(UserError, match="NaN"):
        metric(torch.zeros(3, 4), torch.full((3, 4), math.nan))


@pytest.mark.parametrize("metric", [cka, diagram_distance])
def test_embeddings_must_belong_together(metric):
    with pytest.raises(UserError, match=r"\(3, 4\) and \(4, 4\)"):
        metric(torch.zeros(3, 4), torch.zeros(4, 4))


def test_one_image_has_no_shape():
    with pytest.raises(UserError, match="at least two images"):
        diagram_distance(torch.zeros(1, 4), torch.zeros(1, 4))
