import io

import gudhi
import numpy as np
import pytest
import torch
from gudhi.sklearn import CubicalPersistence
from hypothesis import given, settings
from hypothesis import strategies as st
from ripser import ripser
from some_diagrams import lists, plain, random_lists

from persistill.topology import (
    Diagrams,
    from_arrays,
    from_giotto,
    from_gudhi,
    from_nested,
    load_diagrams,
    save_diagrams,
    to_arrays,
    to_giotto,
    to_gudhi,
    to_nested,
)


@pytest.fixture(params=["numpy", "torch"])
def homology(request):
    """Components, with one class that never dies, and loops of three complexes."""
    zero = [np.array([[0.0, 1.0], [0.0, np.inf], [0.0, 2.0]]), np.empty((0, 2)), np.array([[0.5, 3.0]])]
    one = [np.empty((0, 2)), np.array([[1.0, 1.5], [1.0, 2.5]]), np.empty((0, 2))]
    result = [Diagrams.from_list(zero), Diagrams.from_list(one, dimension=1)]
    return result if request.param == "numpy" else [part.torch() for part in result]


@pytest.fixture(scope="module")
def rips():
    """GUDHI's persistence of three clouds."""
    rng = np.random.default_rng(0)
    trees = [gudhi.RipsComplex(points=rng.random((n, 2))).create_simplex_tree(2) for n in (12, 20, 5)]
    return [tree.persistence() for tree in trees]


def assert_same(found, expected):
    assert found.dimension == expected.dimension
    np.testing.assert_array_equal(plain(found.values), plain(expected.values))
    np.testing.assert_array_equal(plain(found.offsets), plain(expected.offsets))


# GUDHI's list of (dimension, (birth, death))


def test_gudhis_persistence_comes_in_and_goes_out_unchanged(rips):
    components, loops = from_gudhi(rips)
    assert [len(part) for part in components] == [12, 20, 5]
    assert [len(part) for part in loops] == [sum(dimension == 1 for dimension, _ in bars) for bars in rips]
    assert (components.dimension, loops.dimension) == (0, 1)
    assert to_gudhi([components, loops]) == rips


def test_gudhis_layout_by_hand(homology):
    found = to_gudhi(homology)
    assert found[0] == [(0, (0.0, np.inf)), (0, (0.0, 2.0)), (0, (0.0, 1.0))]
    assert found[1] == [(1, (1.0, 2.5)), (1, (1.0, 1.5))]
    assert found[2] == [(0, (0.5, 3.0))]
    loops, none = from_gudhi(found, dimensions=(1, 2))
    assert [len(part) for part in loops] == [0, 2, 0]
    assert (none.dimension, len(none), len(none.values)) == (2, 3, 0)


@pytest.mark.parametrize("bar", [(0, 1.0), 5, (0, (1.0, 2.0), 3)])
def test_other_things_than_gudhis_bars_are_named(bar):
    with pytest.raises(ValueError, match=r"persistences\[1\]\[2\] must be \(dimension, \(birth, death\)\); got"):
        from_gudhi([[], [(0, (0.0, 1.0)), (1, (0.0, 1.0)), bar]])


# Nested lists


def test_the_nested_lists_of_gudhis_sklearn_interface():
    images = np.random.default_rng(0).random((4, 6, 6))
    nested = CubicalPersistence(homology_dimensions=[0, 1]).fit_transform(images)
    components, loops = from_nested(nested)
    for number in range(4):
        np.testing.assert_array_equal(components[number], nested[number][0])
        np.testing.assert_array_equal(loops[number], nested[number][1])
    again = to_nested([components, loops])
    for ours, theirs in zip(again, nested, strict=True):
        for mine, yours in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, yours)


def test_the_diagrams_of_ripser():
    nested = [ripser(np.random.default_rng(seed).random((15, 2)))["dgms"] for seed in range(2)]
    components, loops = from_nested(nested)
    np.testing.assert_array_equal(loops[1], nested[1][1])
    assert np.isinf(components[0]).sum() == 1


def test_nested_lists_keep_their_order_of_dimensions(homology):
    nested = to_nested(homology[::-1])
    assert [[len(part) for part in parts] for parts in nested] == [[0, 3], [2, 0], [0, 1]]
    assert all(isinstance(part, np.ndarray) for parts in nested for part in parts)
    loops, components = from_nested(nested, dimensions=(1, 0))
    assert_same(components, homology[0])
    assert_same(loops, homology[1])


def test_nested_lists_must_be_rectangular():
    empty = np.empty((0, 2))
    with pytest.raises(ValueError, match=r"nested\[1\] must hold 2 diagrams \(0, 1\); it holds 1"):
        from_nested([[empty, empty], [empty]])
    with pytest.raises(ValueError, match="nested is empty"):
        from_nested([])
    with pytest.raises(ValueError, match=r"diagrams\[0\] must have shape \(k, 2\); got \(3, 3\)"):
        from_nested([[np.zeros((3, 3))]])


# giotto-tda's triples


def test_giottos_triples_by_hand(homology):
    found = to_giotto([part.finite() for part in homology[::-1]])
    np.testing.assert_array_equal(
        found,
        [
            [[0, 1, 0], [0, 2, 0], [1, 1, 1], [1, 1, 1]],
            [[0, 0, 0], [0, 0, 0], [1, 1.5, 1], [1, 2.5, 1]],
            [[0.5, 3, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]],
        ],
    )
    for again, part in zip(from_giotto(found), homology, strict=True):
        assert_same(again, part.finite())


def test_a_dimension_without_points_takes_one_place():
    nothing = Diagrams.from_list([np.empty((0, 2), np.float32)] * 2, dimension=1)
    found = to_giotto([nothing])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[0, 0, 1]], [[0, 0, 1]]])
    (again,) = from_giotto(found)
    assert_same(again, nothing)
    assert to_giotto([Diagrams(np.empty((0, 2)), np.zeros(1, np.int64))]).shape == (0, 1, 3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(lists(), lists(superlevel=True)), min_size=1, max_size=4))
def test_layouts_lose_nothing_but_points_on_the_diagonal(complexes):
    parts = [
        Diagrams.from_list([diagrams[dimension] for diagrams in complexes], dimension=dimension) for dimension in (0, 1)
    ]
    for again, part in zip(from_giotto(to_giotto(parts)), parts, strict=True):
        assert_same(again, part.longer_than(0))
    for again, part in zip(from_nested(to_nested(parts)), parts, strict=True):
        assert_same(again, part)
    for again, part in zip(from_gudhi(to_gudhi(parts)), parts, strict=True):
        for found, expected in zip(again, part, strict=True):
            assert sorted(found.tolist()) == sorted(expected.tolist())


def test_triples_must_be_triples_of_whole_dimensions():
    with pytest.raises(ValueError, match=r"triples must have shape \(n, points, 3\); got \(2, 3\)"):
        from_giotto(np.zeros((2, 3)))
    triples = np.zeros((2, 4, 3))
    triples[1, 2, 2] = 0.5
    with pytest.raises(ValueError, match=r"triples\[1, 2, 2\] must be a dimension 0, 1, \.\.\.; got 0.5"):
        from_giotto(triples)


@pytest.mark.parametrize("function", [to_gudhi, to_nested, to_giotto])
def test_dimensions_must_belong_together(homology, function):
    with pytest.raises(ValueError, match=r"different dimensions; got \[0, 0\]"):
        function([homology[0], homology[0]])
    with pytest.raises(ValueError, match=r"one shape; got \(3,\), \(1,\)"):
        function([homology[0], Diagrams.from_list([np.zeros((1, 2))], dimension=1)])
    for wrong in ([], homology[0]):
        with pytest.raises(ValueError, match="sequence with one Diagrams for each dimension"):
            function(wrong)


# Files


@pytest.fixture
def stored():
    values = np.concatenate(random_lists(6)).astype(np.float32)
    offsets = Diagrams.from_list(random_lists(6)).offsets
    indices = np.arange(2 * len(values)).reshape(-1, 2)
    return Diagrams(values, offsets, (2, 3), indices=indices, dimension=1)


def assert_all_same(found, expected):
    assert_same(found, expected)
    assert found.shape == expected.shape
    assert found.values.dtype == expected.values.dtype
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_files_keep_everything(stored, tmp_path):
    file = tmp_path / "diagrams of training"
    save_diagrams(file, stored)
    assert [path.name for path in tmp_path.iterdir()] == ["diagrams of training"]
    assert_all_same(load_diagrams(file), stored)
    save_diagrams(str(file), stored.torch())
    assert_all_same(load_diagrams(str(file)), stored)


def test_open_files_and_diagrams_without_indices(stored):
    buffer = io.BytesIO()
    bare = Diagrams(torch.tensor(stored.values, requires_grad=True), torch.tensor(stored.offsets))
    save_diagrams(buffer, bare)
    buffer.seek(0)
    found = load_diagrams(buffer)
    assert_same(found, Diagrams(stored.values, stored.offsets))
    assert found.indices is None
    scalar = Diagrams(np.array([[1, 2]], np.uint8), np.array([0, 1]), ())
    assert from_arrays(to_arrays(scalar)).shape == ()
    assert from_arrays(to_arrays(scalar)).values.dtype == np.uint8


def test_damaged_and_foreign_files_are_refused(stored, tmp_path):
    file = tmp_path / "diagrams.npz"
    save_diagrams(file, stored)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"births and deaths"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"diagrams.npz holds no diagrams as save_diagrams writes them"):
            load_diagrams(file)
    np.savez(file, values=stored.values)
    with pytest.raises(ValueError, match="missing: offsets, shape, dimension"):
        load_diagrams(file)
    np.savez(file, **to_arrays(stored) | {"offsets": np.array([0, 5])})
    with pytest.raises(ValueError, match="offsets must rise"):
        load_diagrams(file)
    np.save(tmp_path / "array.npy", stored.values)
    with pytest.raises(ValueError, match="holds no diagrams"):
        load_diagrams(tmp_path / "array.npy")
    with pytest.raises(FileNotFoundError):
        load_diagrams(tmp_path / "nowhere.npz")
