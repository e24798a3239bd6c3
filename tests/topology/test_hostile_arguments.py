"""Arguments that once crashed the interpreter, or ended in the middle of a function."""

import numpy as np
import pytest
import torch

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    betti_curves,
    bottleneck,
    cubical_persistence,
    fit_persistence_images,
    from_giotto,
    from_nested,
    mst_lengths,
    persistence_images,
    rips_persistence,
    scan_persistence_images,
    sliced_wasserstein,
    sorted_lifetimes,
    sublevel_persistence,
    wasserstein,
)

ROWS = np.zeros((3, 4, 5), np.float32)
BARS = Diagrams.from_list([[(0.0, 1.0), (0.25, 0.5)]])


@pytest.mark.parametrize("flag", [0.5, 2, (0, 1), None, "yes", np.float32(0.5), 1j, float("inf")])
@pytest.mark.parametrize(
    "call",
    [
        lambda flag: sublevel_persistence(ROWS, essential=flag),
        lambda flag: sublevel_persistence(ROWS, superlevel=flag),
        lambda flag: sublevel_persistence(ROWS, indices=flag),
        lambda flag: cubical_persistence(ROWS, essential=flag),
        lambda flag: rips_persistence(ROWS, essential=flag),
        lambda flag: mst_lengths(ROWS, distances=flag),
        lambda flag: betti_curves(BARS, [0.0, 1.0], mean=flag),
    ],
)
def test_flags_are_true_or_false(call, flag):
    # An essential=0.5 was counted as no and written as yes: beyond the end of an array.
    with pytest.raises(TypeError, match="must be True or False; got"):
        call(flag)
    call(np.False_)


@pytest.mark.parametrize("tensor", [torch.zeros(3, 3, device="meta"), torch.eye(3).to_sparse()])
@pytest.mark.parametrize("function", [sublevel_persistence, cubical_persistence, mst_lengths, rips_persistence])
def test_tensors_without_plain_data_are_refused(function, tensor):
    with pytest.raises(TypeError, match="must be a plain tensor; it"):
        function(tensor)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sublevel_persistence(ROWS, min_persistence="1"), "min_persistence must be a number"),
        (lambda: cubical_persistence(ROWS, min_persistence=(0, 1)), "min_persistence must be a number"),
        (lambda: rips_persistence(ROWS, threshold=(0, 1)), "threshold must be a number"),
        (lambda: rips_persistence(ROWS, dimension=1.0), "dimension must be 0 or 1"),
        (lambda: persistence_images(BARS, None), "config must be a PersistenceImageConfig; got NoneType"),
        (lambda: scan_persistence_images(ROWS[None], "tgd"), "config must be a PersistenceImageConfig; got str"),
        (lambda: scan_persistence_images(ROWS[None], PersistenceImageConfig(), scans=3), "scans must be one or more"),
        (lambda: fit_persistence_images(BARS, pixels=(0, 3)), "pixels must be at least"),
        (lambda: fit_persistence_images(BARS, quantile="most"), "quantile must be a number"),
        (lambda: fit_persistence_images(Diagrams.from_list([[(0, 1e308)]])), "bars beyond 1e\\+30"),
        (lambda: sorted_lifetimes(BARS, 2**63), "count must be below 2,147,483,648"),
        (lambda: sliced_wasserstein(BARS, BARS, directions=10**5000), "directions must be below .* a larger one"),
        (lambda: wasserstein(BARS, BARS, ground=torch.tensor(2)), "ground must be a number"),
        (lambda: BARS.torch().cut(10**400), "death must be finite; got a larger one"),
        (lambda: Diagrams.from_list([np.ones((1, 2), np.float32)]).cut(1e308), "death must be finite in float32"),
        (lambda: from_giotto("image.png"), "triples must be a NumPy array of numbers; got str"),
        (lambda: from_nested([[torch.zeros(1, 2, device="meta")]]), "must be a plain tensor"),
    ],
)
def test_what_is_wrong_is_said(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_bounds_beyond_the_dtype_are_no_bounds():
    assert len(rips_persistence(np.eye(3, dtype=np.float32), threshold=1e308).values) == 2
    assert len(sublevel_persistence(ROWS, min_persistence=float("inf")).values) == 0
    assert from_nested([[torch.ones(1, 2, requires_grad=True)]])[0].values.tolist() == [[1, 1]]


def test_a_bottleneck_of_ties_and_tiny_points():
    # GUDHI 3.13 gives 1.999999 for these; the least cost at which all can be paired is 1.
    tiny = [(-9.1e-7, -5.9e-7), (5.9e-7, 9.5e-7), (-4.3e-7, 9.1e-7)]
    tied = [(0.0, 2.0), (0.0, 2.0), (0.0, 2.0), (2.0, 2.0), (0.0, 2.0)]
    assert bottleneck(Diagrams.from_list([tiny]), Diagrams.from_list([tied])).tolist() == [1.0]
