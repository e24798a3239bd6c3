import numpy as np
import pytest
import torch

from persistill.topology import Diagrams


@pytest.fixture(params=["numpy", "torch"])
def ragged(request):
    values = np.array([[0.1, 0.5], [0.2, np.inf], [0.0, 0.3], [0.4, 0.45], [0.9, 0.6]])
    diagrams = Diagrams(
        values,
        np.array([0, 2, 2, 5]),
        indices=np.array([[3, 4], [1, -1], [0, 5], [8, 9], [2, 7]]),
        dimension=1,
    )
    return diagrams if request.param == "numpy" else diagrams.torch()


def plain(array):
    return np.asarray(array)


def test_diagrams_are_found_by_number_and_by_position(ragged):
    assert len(ragged) == 3
    assert ragged.shape == (3,)
    assert [len(diagram) for diagram in ragged] == [2, 0, 3]
    np.testing.assert_array_equal(plain(ragged[2]), plain(ragged[-1]))
    square = Diagrams(ragged.values, ragged.offsets, (1, 3))
    np.testing.assert_array_equal(plain(square[0, 2]), plain(ragged[2]))
    with pytest.raises(IndexError, match="no diagram 3 among 3"):
        ragged[3]


def test_lifetimes_are_never_negative(ragged):
    np.testing.assert_allclose(plain(ragged.persistences), [0.4, np.inf, 0.3, 0.05, 0.3])
    levels = Diagrams(np.array([[250, 10], [10, 250]], np.uint8), np.array([0, 2]))
    np.testing.assert_array_equal(levels.persistences, [240, 240])
    assert levels.persistences.dtype == np.uint8


def test_numbers_name_the_diagram_of_each_point(ragged):
    np.testing.assert_array_equal(plain(ragged.diagram_index), [0, 0, 2, 2, 2])


def test_short_bars_are_dropped_with_their_indices(ragged):
    kept = ragged.longer_than(0.1)
    assert [len(diagram) for diagram in kept] == [2, 0, 2]
    np.testing.assert_array_equal(plain(kept.indices), [[3, 4], [1, -1], [0, 5], [2, 7]])
    assert kept.dimension == 1


def test_infinite_bars_are_dropped_or_cut(ragged):
    assert [len(diagram) for diagram in ragged.finite()] == [1, 0, 3]
    np.testing.assert_allclose(plain(ragged.cut(2.0)[0]), [[0.1, 0.5], [0.2, 2.0]])
    assert ragged.cut(2.0).values.dtype == ragged.values.dtype


def test_all_points_dropped_leaves_empty_diagrams(ragged):
    nothing = ragged.finite().longer_than(5.0)
    assert [len(diagram) for diagram in nothing] == [0, 0, 0]
    again = nothing.longer_than(5.0)
    assert len(again) == 3


def test_lists_go_in_and_come_out(ragged):
    again = Diagrams.from_list(ragged.to_list())
    np.testing.assert_array_equal(plain(again.values), plain(ragged.values))
    np.testing.assert_array_equal(plain(again.offsets), plain(ragged.offsets))
    with pytest.raises(ValueError, match=r"diagrams\[1\] must have shape \(k, 2\); got \(3,\)"):
        Diagrams.from_list([np.zeros((1, 2)), np.zeros(3)])
    with pytest.raises(ValueError, match="empty list"):
        Diagrams.from_list([])


def test_kinds_of_arrays_convert(ragged):
    assert isinstance(ragged.numpy().offsets, np.ndarray)
    assert isinstance(ragged.torch().indices, torch.Tensor)
    np.testing.assert_array_equal(ragged.numpy().values, ragged.torch().numpy().values)


def test_gradients_pass_through_a_choice_of_points():
    values = torch.tensor([[0.0, 1.0], [0.5, 0.6], [0.2, 0.9]], requires_grad=True)
    diagrams = Diagrams(values, torch.tensor([0, 3])).longer_than(0.2)
    diagrams.persistences.sum().backward()
    np.testing.assert_array_equal(values.grad.numpy(), [[-1, 1], [0, 0], [-1, 1]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((2, 3))}, r"values must have shape \(P, 2\)"),
        ({"offsets": np.array([0, 1])}, "offsets must rise from 0 to 2"),
        ({"offsets": np.array([0, 2, 1, 2])}, "offsets must rise"),
        ({"offsets": np.array([0.0, 2.0])}, "int64"),
        ({"shape": (3,)}, r"shape \(3,\) does not hold 1 diagrams"),
        ({"indices": np.zeros((1, 2), np.int64)}, "indices must have the shape of values"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    given = {"values": np.zeros((2, 2)), "offsets": np.array([0, 2])} | change
    with pytest.raises(ValueError, match=message):
        Diagrams(**given)


def test_a_mask_must_be_a_mask(ragged):
    with pytest.raises(ValueError, match=r"mask must be \(5,\) bool"):
        ragged.keep(ragged.offsets)
