"""Ragged batches of diagrams, random and awkward, for the tests of vectorizations and distances."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from persistill.topology import Diagrams


def random_lists(count, *, most=25, seed=0, digits=None):
    """``count`` diagrams of 0 to ``most`` points with lifetimes above 0; few digits give ties. The first is empty."""
    rng = np.random.default_rng(seed)
    result = [np.empty((0, 2))]
    while len(result) < count:
        births = rng.normal(0.4, 0.3, rng.integers(1, most))
        diagram = np.stack([births, births + rng.exponential(0.2, len(births)) + 1e-3], 1)
        if digits is not None:
            diagram = diagram.round(digits)
        result.append(diagram[diagram[:, 0] < diagram[:, 1]])
    return result


def as_kind(diagrams, kind):
    return diagrams if kind == "numpy" else diagrams.torch()


def plain(array):
    return array.detach().numpy() if isinstance(array, torch.Tensor) else array


# Multiples of 1/8 tie often and compute without rounding; the others are anything between tiny and large.
_coordinates = st.one_of(st.integers(-16, 16).map(lambda n: n / 8), st.floats(-3, 3, width=32))


def lists(*, most=7, superlevel=False):
    """Strategy: one diagram, (k, 2) float64, points on the diagonal and repeated ones included."""
    side = arrays.arrays(np.float64, st.tuples(st.integers(0, most), st.just(2)), elements=_coordinates)
    return side.map(lambda points: np.sort(points, 1)[:, ::-1].copy() if superlevel else np.sort(points, 1))


def differentiable(*parts):
    """Diagrams of float64 tensors that require gradients, and those tensors."""
    values = torch.tensor(np.concatenate(parts), dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor(np.cumsum([0, *map(len, parts)]))
    return Diagrams(values, offsets), values
