"""What the functions of the room do with what they were not made for: they take it, or say what they take."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from persistill.topology import (
    Diagrams,
    PersistenceImageConfig,
    betti_curves,
    bottleneck,
    cubical_persistence,
    euler_curves,
    fit_persistence_images,
    from_nested,
    landscapes,
    mst_lengths,
    persistence_entropy,
    persistence_images,
    point_persistence_images,
    rips_persistence,
    scan_persistence_images,
    silhouettes,
    sliced_wasserstein,
    sorted_lifetimes,
    sublevel_persistence,
    to_giotto,
    to_gudhi,
    total_persistence,
    wasserstein,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.random((2, 3, 6, 7)).astype(np.float32)
POINTS = RNG.random((2, 8, 3)).astype(np.float32)
CONFIG = PersistenceImageConfig((4, 5), 0.1, (0, 1), (0, 1))
GRID = torch.linspace(0, 1, 5)
DENSITY = {"bandwidth": 0.1, "births": (0, 1), "persistences": (0, 1), "pixels": (3, 3)}
INPUTS = {
    "signals": (sublevel_persistence, IMAGES),
    "images": (cubical_persistence, IMAGES),
    "points": (mst_lengths, POINTS),
    "clouds": (rips_persistence, POINTS),
    "channels": (lambda images: scan_persistence_images(images, CONFIG), IMAGES),
}
LISTS = [[(0.1, 0.5), (0.2, 0.3)], [], [(0.0, 1.0)]]


def values(found):
    found = found[0] if isinstance(found, tuple) else found
    return found.values if isinstance(found, Diagrams) else found


# Masked arrays, byte orders


@pytest.mark.parametrize("name", INPUTS)
def test_masked_arrays_are_refused(name):
    function, array = INPUTS[name]
    with pytest.raises(TypeError, match=r"is a masked array; replace what is masked, as by filled\(\)"):
        function(np.ma.masked_greater(array, 0.9))


def test_masked_diagrams_are_refused():
    masked = np.ma.masked_greater(np.array([[0.1, 0.5], [0.2, 0.9]]), 0.8)
    with pytest.raises(TypeError, match="values is a masked array"):
        Diagrams(masked, np.array([0, 2]))
    with pytest.raises(TypeError, match=r"diagrams\[1\] is a masked array"):
        Diagrams.from_list([np.zeros((0, 2)), masked])


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_the_order_of_bytes_does_not_matter(name, kind):
    function, array = INPUTS[name]
    expected = values(function(array.astype(kind)))
    for order in "<>":
        found = values(function(array.astype(order + kind)))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype.isnative


def test_diagrams_of_another_byte_order():
    swapped = Diagrams(np.array([[0.25, 0.5]], ">f8"), np.array([0, 1], ">i8"))
    assert total_persistence(swapped).tolist() == [0.25]
    assert swapped.torch().values.tolist() == [[0.25, 0.5]]


# Lists, single diagrams, things that are no diagrams


def test_lists_of_pairs_become_diagrams():
    diagrams = Diagrams.from_list(LISTS)
    assert [len(diagram) for diagram in diagrams] == [2, 0, 1]
    assert diagrams.values.dtype == np.float64
    assert diagrams[0].tolist() == [[0.1, 0.5], [0.2, 0.3]]
    with pytest.raises(ValueError, match=r"diagrams\[1\] must have shape \(k, 2\); got \(1, 3\)"):
        Diagrams.from_list([[], [(1, 2, 3)]])
    with pytest.raises(ValueError, match=r"diagrams\[0\] must be made of pairs"):
        Diagrams.from_list([[(1, 2), (3,)]])
    with pytest.raises(TypeError, match=r"diagrams\[0\] must be an array, a tensor or a list of pairs"):
        Diagrams.from_list([None])
    with pytest.raises(TypeError, match="put it into a list"):
        Diagrams.from_list(np.zeros((3, 2)))
    with pytest.raises(TypeError, match=r"values must be .*got list. Diagrams.from_list takes lists"):
        Diagrams([[0.1, 0.5]], np.array([0, 1]))
    with pytest.raises(TypeError, match="offsets must be a NumPy array or a torch tensor; got list"):
        Diagrams(np.zeros((0, 2)), [0])


GRID = [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "function",
    [
        lambda d: landscapes(d, GRID),
        lambda d: betti_curves(d, GRID),
        lambda d: persistence_images(d, CONFIG),
        lambda d: point_persistence_images(d, bandwidth=0.1, births=(0, 1), persistences=(0, 1)),
        fit_persistence_images,
        total_persistence,
        lambda d: sorted_lifetimes(d, 1),
        lambda d: wasserstein(d, d),
        lambda d: bottleneck(d, d),
        lambda d: sliced_wasserstein(d, d),
        lambda d: euler_curves([d], GRID),
        lambda d: to_gudhi([d]),
        lambda d: to_giotto([d]),
    ],
)
@pytest.mark.parametrize("given", [LISTS, tuple(LISTS), np.zeros((3, 2)), torch.zeros(3, 2)])
def test_functions_of_diagrams_say_what_they_take(function, given):
    with pytest.raises(TypeError, match=r"must be Diagrams \(see Diagrams.from_list\)"):
        function(given)


# NumPy's numbers as settings


def test_numbers_of_numpy_are_numbers():
    diagrams = Diagrams.from_list(LISTS)
    np.testing.assert_array_equal(landscapes(diagrams, GRID, levels=np.int64(2)), landscapes(diagrams, GRID, levels=2))
    assert total_persistence(diagrams, power=np.float32(2)).tolist() == total_persistence(diagrams, power=2).tolist()
    assert wasserstein(diagrams, diagrams, order=np.int32(2), threads=np.uint8(1)).tolist() == [0, 0, 0]
    assert sorted_lifetimes(diagrams, np.int16(2)).shape == (3, 2)
    config = PersistenceImageConfig(
        (np.int64(4), np.int64(5)), np.float32(0.125), np.array([0, 1]), (np.float64(0), 1), scale=np.float16(1)
    )
    assert config == PersistenceImageConfig((4, 5), 0.125, (0, 1), (0.0, 1))
    assert PersistenceImageConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    window = {"births": np.array([0.0, 1.0]), "persistences": (np.float32(0), np.float32(1))}
    found = point_persistence_images(diagrams, pixels=np.array([3, 4]), bandwidth=np.float64(0.1), **window)
    assert found.shape == (3, 3, 4)
    for wrong in (True, np.True_, 2.0, np.float64(2), "2", None):
        with pytest.raises(TypeError, match="levels must be an integer"):
            landscapes(diagrams, GRID, levels=wrong)
    with pytest.raises(TypeError, match="threads must be an integer"):
        landscapes(diagrams, GRID, threads=1.5)


# Slices, stacks, collating


@pytest.fixture(params=["numpy", "torch"])
def batch(request):
    found = sublevel_persistence(RNG.random((3, 4, 9)))
    return found if request.param == "numpy" else found.torch()


def test_slices_number_diagrams_as_a_list_does(batch):
    lists = batch.to_list()
    for cut in (slice(None), slice(2, 7), slice(None, None, -1), slice(5, 2), slice(-3, None), slice(0, 12, 5)):
        part = batch[cut]
        assert part.shape == (len(lists[cut]),)
        for found, expected in zip(part, lists[cut], strict=True):
            np.testing.assert_array_equal(found, expected)
        assert part.indices.shape == part.values.shape
        assert type(part.values) is type(batch.values)


def test_tuples_take_positions_in_the_batch_shape(batch):
    np.testing.assert_array_equal(batch[1, 2], batch.to_list()[6])
    np.testing.assert_array_equal(batch[-1, -1], batch.to_list()[11])
    columns = batch[:, 1:3]
    assert columns.shape == (3, 2)
    np.testing.assert_array_equal(columns[2, 0], batch[2, 1])
    row = batch[1, :]
    assert row.shape == (4,)
    np.testing.assert_array_equal(row[3], batch[1, 3])
    assert batch[2:2, :].shape == (0, 4)
    assert batch[(1,)].shape == (4,)
    for wrong in ((3, 0), (0, 4), (0, 0, 0)):
        with pytest.raises(IndexError):
            batch[wrong]


def test_batches_are_stacked(batch):
    both = Diagrams.stack([batch, batch])
    assert both.shape == (2, 3, 4)
    np.testing.assert_array_equal(both[1, 2, 3], batch[2, 3])
    np.testing.assert_array_equal(np.asarray(both.indices), np.tile(np.asarray(batch.indices), (2, 1)))
    with pytest.raises(ValueError, match="batches is an empty list"):
        Diagrams.stack([])
    with pytest.raises(ValueError, match="batches must have one shape"):
        Diagrams.stack([batch, batch[:2]])
    with pytest.raises(TypeError, match=r"see numpy\(\) and torch\(\)"):
        Diagrams.stack([batch.numpy(), batch.torch()])
    bare = Diagrams(batch.values, batch.offsets, batch.shape)
    with pytest.raises(ValueError, match="indices or none"):
        Diagrams.stack([batch, bare])


def test_a_data_loader_stacks_diagrams():
    images = RNG.integers(0, 256, (6, 3, 8, 8), dtype=np.uint8)

    class Samples:
        def __len__(self):
            return len(images)

        def __getitem__(self, number):
            (components,) = cubical_persistence(images[number], dimensions=(0,))
            return {"diagrams": components, "number": number}

    for workers in (0, 1):
        batches = list(DataLoader(Samples(), batch_size=4, num_workers=workers))
        assert [one["diagrams"].shape for one in batches] == [(4, 3), (2, 3)]
        found = batches[1]["diagrams"]
        assert isinstance(found.values, torch.Tensor)
        assert found.scale == 255
        np.testing.assert_array_equal(found[1, 2], cubical_persistence(images[5], dimensions=(0,))[0][2])


# Other libraries' layouts


def test_dgms_of_ripser_are_one_complex():
    dgms = [np.array([[0.0, 0.5], [0.0, np.inf]]), np.array([[0.75, 1.0]])]
    for found in (from_nested(dgms), from_nested([dgms])):
        assert [one.shape for one in found] == [(1,), (1,)]
        assert [one.dimension for one in found] == [0, 1]
        np.testing.assert_array_equal(found[0].values, dgms[0])
        np.testing.assert_array_equal(found[1].values, dgms[1])


def test_giotto_gets_8_bit_diagrams_and_no_infinities():
    components, holes = cubical_persistence(RNG.integers(0, 256, (2, 6, 6), dtype=np.uint8), essential=True)
    triples = to_giotto([components.finite(), holes])
    assert triples.dtype == np.float32
    assert triples[..., :2].max() <= 1
    with pytest.raises(ValueError, match=r"of dimension 0 is .*giotto-tda's arrays hold finite numbers; drop .*finite"):
        to_giotto([components, holes])


# Messages, cuts, volumes


def test_a_wrong_diagonal_is_named_once():
    distances = np.array([[0.0, 1.0], [1.0, 0.5]])
    with pytest.raises(ValueError, match=r"^points\[1, 1\] is 0.5; distances must be 0 or more, symmetric, and 0"):
        mst_lengths(distances, distances=True)
    with pytest.raises(ValueError, match=r"^points\[0, 1\] is 1.0 and points\[1, 0\] is 3.0; distances"):
        mst_lengths(np.array([[0.0, 1.0], [3.0, 0.0]]), distances=True)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_only_classes_that_never_die_are_cut(kind):
    inf, nan = np.inf, np.nan
    diagrams = Diagrams(np.array([[0.5, inf], [0.1, nan], [inf, 2.0], [-inf, -inf], [0.2, 0.3]]), np.array([0, 5]))
    diagrams = diagrams.torch() if kind == "torch" else diagrams
    np.testing.assert_array_equal(
        np.asarray(diagrams.cut(9).values), [[0.5, 9], [0.1, nan], [inf, 2.0], [-inf, 9], [0.2, 0.3]]
    )
    for death in (nan, inf):
        with pytest.raises(ValueError, match="death must be finite"):
            diagrams.cut(death)
    with pytest.raises(TypeError, match="death must be a number"):
        diagrams.cut("9")
    with pytest.raises(ValueError, match=r"point 0 of diagrams .* is \[0.1, nan\]"):
        total_persistence(diagrams.keep(diagrams.births == 0.1).cut(9))


def test_a_volume_is_a_batch_of_images():
    volume = RNG.random((4, 5, 6))
    components, _ = cubical_persistence(volume)
    assert components.shape == (4,)
    assert "volume (D, H, W) is taken as D images" in cubical_persistence.__doc__


# torch.compile


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # dynamo's own
@pytest.mark.parametrize(
    ("function", "given"),
    [
        (mst_lengths, POINTS),
        (lambda x: rips_persistence(x).values, POINTS),
        (lambda x: sublevel_persistence(x).values, IMAGES),
        (lambda x: cubical_persistence(x)[1].values, IMAGES),
        (lambda x: scan_persistence_images(x, CONFIG), IMAGES),
        (lambda x: persistence_images(sublevel_persistence(x), CONFIG), IMAGES),
        (lambda x: wasserstein(sublevel_persistence(x), sublevel_persistence(2 * x)), IMAGES),
        (lambda x: bottleneck(sublevel_persistence(x), sublevel_persistence(2 * x)), IMAGES),
        (lambda x: sliced_wasserstein(sublevel_persistence(x), sublevel_persistence(2 * x)), IMAGES),
        (lambda x: landscapes(sublevel_persistence(x), GRID), IMAGES),
        (lambda x: silhouettes(sublevel_persistence(x), GRID), IMAGES),
        (lambda x: betti_curves(sublevel_persistence(x), GRID, mean=True), IMAGES),
        (lambda x: euler_curves(cubical_persistence(x), GRID, mean=True), IMAGES),
        (lambda x: total_persistence(sublevel_persistence(x), power=2.0), IMAGES),
        (lambda x: persistence_entropy(sublevel_persistence(x)), IMAGES),
        (lambda x: sorted_lifetimes(sublevel_persistence(x), 3), IMAGES),
        (lambda x: point_persistence_images(sublevel_persistence(x), **DENSITY), IMAGES),
    ],
    ids=[
        *("mst", "rips", "signals", "cubical", "scans", "persistence images", "wasserstein", "bottleneck"),
        *("sliced wasserstein", "landscapes", "silhouettes", "betti curves", "euler curves", "total persistence"),
        *("entropy", "lifetimes", "densities"),
    ],
)
def test_compiled_callers_step_over_the_engine(function, given):
    torch._dynamo.reset()

    def step(x):
        return (function(torch.sin(x)) * 2).sum()

    results = []
    for call in (step, torch.compile(step, backend="eager")):
        leaf = torch.from_numpy(given).requires_grad_()
        total = call(leaf)
        total.backward()
        results.append((total.detach(), leaf.grad))
    for found, expected in zip(*reversed(results), strict=True):
        torch.testing.assert_close(found, expected)
