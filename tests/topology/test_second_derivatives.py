"""Gradients may be differentiated again: a penalty on a gradient is never silently zero."""

import numpy as np
import pytest
import torch

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    mst_lengths,
    persistence_images,
    rips_persistence,
    scan_persistence_images,
)
from persistill.topology._reference import vietoris_rips_h0 as reference
from persistill.topology.persistence_image._autograd import unscaled_images
from persistill.topology.persistence_image._tables import kernel_settings

POINTS = torch.randn(2, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
CIRCLE = torch.from_numpy(np.stack([np.cos(np.arange(9) * 0.7), np.sin(np.arange(9) * 0.69) + 0.01 * np.arange(9)], 1))[
    None
]
CONFIG = PersistenceImageConfig((4, 3), 0.1, (0, 1), (0, 1), 0.0, grid="tiled", scaling="none")


def leaf(points):
    return points.clone().requires_grad_()


def penalty(function, points):
    """The gradient of the squared norm of the gradient of the sum."""
    points = leaf(points)
    (gradient,) = torch.autograd.grad(function(points).sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), points)
    return second


@pytest.mark.parametrize(
    "function",
    [
        mst_lengths,
        lambda x: rips_persistence(x).values,
        lambda x: rips_persistence(x, essential=True).finite().values,
        lambda x: reference.mst_lengths(x, distances=False),
    ],
    ids=["mst_lengths", "H0", "H0 with the essential class", "torch"],
)
def test_lengths_can_be_differentiated_twice(function):
    assert torch.autograd.gradgradcheck(function, leaf(POINTS))


def test_loops_can_be_differentiated_twice():
    def function(x):
        return rips_persistence(x, dimension=1).values

    assert len(function(CIRCLE)) == 1
    assert torch.autograd.gradgradcheck(function, leaf(CIRCLE))


def test_a_penalty_is_that_of_the_distances():
    # With one incoming gradient, which needs no graph of its own, the second derivative was zero.
    def by_distances(points):
        return mst_lengths(torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist"), distances=True)

    def weighted(function):
        return lambda points: function(points).square()

    expected = penalty(weighted(by_distances), POINTS)
    assert expected.abs().sum() > 1
    torch.testing.assert_close(penalty(weighted(mst_lengths), POINTS), expected)
    torch.testing.assert_close(penalty(mst_lengths, POINTS), penalty(by_distances, POINTS))


def test_points_that_coincide_have_no_second_derivative():
    points = torch.zeros(1, 3, 2, dtype=torch.float64)
    points[0, 2] = 1
    assert penalty(mst_lengths, points).isfinite().all()
    tiny = POINTS.float() * 1e-30
    assert penalty(mst_lengths, tiny).isfinite().all()


@pytest.mark.parametrize("weight", ["linear", "constant"])
def test_persistence_images_can_be_differentiated_twice(weight):
    settings = kernel_settings(PersistenceImageConfig(**{**CONFIG.to_json(), "weight": weight}))
    values = torch.tensor([[0.1, 0.5], [0.3, 0.9], [0.7, 0.2]], dtype=torch.float64)

    def function(values):
        # The tables are off, which round to float32.
        return unscaled_images(values, torch.tensor([0, 1, 3]), settings._replace(limit=float("inf")), 1)

    assert torch.autograd.gradcheck(function, leaf(values))
    assert torch.autograd.gradgradcheck(function, leaf(values))


@pytest.mark.parametrize("scaling", ["none", "log", "max"])
def test_penalties_on_persistence_images_are_not_zero(scaling):
    config = PersistenceImageConfig(**{**CONFIG.to_json(), "scaling": scaling})
    values = torch.tensor([[0.1, 0.5], [0.3, 0.9], [0.2, 0.7]], dtype=torch.float64)
    offsets = torch.tensor([0, 3])
    assert penalty(lambda x: persistence_images(Diagrams(x, offsets), config), values).abs().sum() > 0.1
    images = torch.rand(1, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert penalty(lambda x: scan_persistence_images(x, config), images).abs().sum() > 0.1
