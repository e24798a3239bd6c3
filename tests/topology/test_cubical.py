import itertools
import threading

import gudhi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from persistill.topology import betti_curves, cubical_persistence
from persistill.topology._numba.cubical import _start, tables
from persistill.topology._reference.cubical import cubical_pairs

CONSTRUCTIONS = ("top_cells", "vertices")
DTYPES = (np.uint8, np.float32, np.float64)


def hard_images():
    """Name -> (H, W) uint8."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:14, :17]
    center = np.maximum(abs(rows - 7), abs(columns - 8))
    disc = np.hypot(rows - 6.5, columns - 8)
    bright_frame = rng.integers(0, 256, (9, 12))
    bright_frame[[0, -1]] = bright_frame[:, [0, -1]] = 255
    made = {
        "single pixel": [[77]],
        "single bright pixel": [[255]],
        "one row": rng.integers(0, 9, (1, 40)),
        "one column": rng.integers(0, 9, (40, 1)),
        "two rows": rng.integers(0, 9, (2, 30)),
        "two columns": rng.integers(0, 9, (30, 2)),
        "two by two": [[0, 9], [8, 1]],
        "three by three": [[3, 5, 1], [6, 9, 7], [2, 8, 4]],
        "constant": np.full((6, 7), 128),
        "black": np.zeros((5, 5)),
        "white": np.full((5, 5), 255),
        "checkerboard": 255 * ((rows + columns) % 2),
        "other checkerboard": 255 * ((rows + columns + 1) % 2),
        "stripes": 200 * (rows % 2),
        "upright stripes": 200 * (columns % 2),
        "ramp": 10 * rows + 3 * columns,
        "falling ramp": 255 - 10 * rows - 3 * columns,
        "frames": 40 * (center % 3),
        "rings": 127 + 120 * np.cos(disc * 1.7),
        "plateaus": np.repeat(np.repeat(rng.integers(0, 6, (5, 4)), 3, 0), 4, 1),
        "two levels": rng.integers(0, 2, (20, 17)) * 255,
        "three levels": rng.integers(0, 3, (17, 4)),
        "five levels": rng.integers(0, 5, (31, 33)),
        "noise": rng.integers(0, 256, (32, 32)),
        "bright noise": rng.integers(250, 256, (24, 24)),
        "bright frame": bright_frame,
        "dots": np.where(rng.random((25, 25)) < 0.1, 0, 255),
        "holes": np.where(rng.random((25, 25)) < 0.1, 255, 0),
    }
    return {name: np.array(image).astype(np.uint8) for name, image in made.items()}


HARD = hard_images()


@st.composite
def small_images(draw, side=6):
    """(H, W) float64, from two to five values or from every scale there is."""
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    levels = st.integers(0, draw(st.integers(1, 4)))
    pixels = draw(st.sampled_from([levels, levels, st.floats(-1e300, 1e300)]))
    values = draw(st.lists(pixels, min_size=height * width, max_size=height * width))
    return np.array(values, np.float64).reshape(height, width)


def as_multiset(diagram):
    return diagram[np.lexsort(diagram.T)]


def gudhi_diagrams(image, construction):
    """H0 and H1, each (k, 2) float64, of GUDHI's cubical complex."""
    argument = "top_dimensional_cells" if construction == "top_cells" else "vertices"
    complex_ = gudhi.CubicalComplex(**{argument: image.astype(np.float64)})
    complex_.compute_persistence()
    return [complex_.persistence_intervals_in_dimension(dimension).reshape(-1, 2) for dimension in (0, 1)]


def assert_agrees_with_gudhi(image, construction):
    found = cubical_persistence(image, construction=construction, essential=True)
    for dimension, expected in enumerate(gudhi_diagrams(image, construction)):
        assert found[dimension].dimension == dimension
        np.testing.assert_array_equal(as_multiset(found[dimension].values), as_multiset(expected))


def assert_agrees_with_reference(image, construction):
    expected = cubical_pairs(image.tolist(), construction=construction)
    found = cubical_persistence(image, construction=construction, essential=True)
    flat = image.ravel()
    for dimension in (0, 1):
        bars = {pair for pair in expected[dimension] if pair[1] < 0 or flat[pair[0]] != flat[pair[1]]}
        assert set(map(tuple, found[dimension].indices.tolist())) == bars
        assert len(found[dimension].indices) == len(bars)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("name", HARD)
def test_hard_images_agree_with_gudhi(name, construction):
    for dtype in DTYPES:
        assert_agrees_with_gudhi(HARD[name].astype(dtype), construction)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_real_images_agree_with_gudhi(cifar, construction):
    images = cifar(list(range(6)))
    for image in images[:, 0]:
        assert_agrees_with_gudhi(image, construction)
    mosaic = images[:, 1].reshape(2, 3, 32, 32).transpose(0, 2, 1, 3).reshape(64, 96)
    assert_agrees_with_gudhi(mosaic, construction)
    # Differences of neighbors bring zeros of both signs and many negative values.
    assert_agrees_with_gudhi(np.diff(mosaic.astype(np.float32), axis=1) / -255, construction)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_every_neighborhood_agrees_with_matrix_reduction_in_every_index(construction):
    # Five by five pixels, of which the inner nine take every pattern around their middle.
    ring = [6, 7, 8, 11, 13, 16, 17, 18]
    outside = np.random.default_rng(0).permutation(25).reshape(5, 5) / 100
    for pattern in itertools.product([-1, 1], repeat=8):
        image = outside.copy()
        image.ravel()[ring] += pattern
        image[2, 2] = 0.5
        assert_agrees_with_reference(image, construction)


@settings(deadline=None, max_examples=200)
@given(small_images(), st.sampled_from(CONSTRUCTIONS))
def test_small_images_agree_with_matrix_reduction_in_every_index(image, construction):
    assert_agrees_with_reference(image, construction)


@settings(deadline=None, max_examples=60)
@given(small_images(), st.sampled_from(CONSTRUCTIONS))
def test_indices_give_the_values_and_bars_have_a_length(image, construction):
    for superlevel in (False, True):
        for found in cubical_persistence(image, construction=construction, superlevel=superlevel):
            np.testing.assert_array_equal(image.ravel()[found.indices], found.values)
            assert (found.births > found.deaths if superlevel else found.births < found.deaths).all()


@settings(deadline=None, max_examples=60)
@given(small_images(), st.sampled_from(CONSTRUCTIONS))
def test_superlevel_sets_are_sublevel_sets_upside_down(image, construction):
    above = cubical_persistence(image, construction=construction, superlevel=True)
    below = cubical_persistence(-image, construction=construction)
    for ours, theirs in zip(above, below, strict=True):
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_array_equal(ours.values, -theirs.values)
    if image.min() >= 0 and image.max() < 256 and (image % 1 == 0).all():
        levels = cubical_persistence(image.astype(np.uint8), construction=construction, superlevel=True)
        for ours, theirs in zip(levels, above, strict=True):
            assert ours.values.dtype == np.uint8
            np.testing.assert_array_equal(ours.indices, theirs.indices)


@settings(deadline=None, max_examples=60)
@given(small_images())
def test_holes_are_components_of_the_other_construction_seen_from_above(image):
    # The frame stands for the outside: the highest component, which never dies.
    framed = np.pad(image, 1, constant_values=image.max() + 1)
    for construction, other in (CONSTRUCTIONS, CONSTRUCTIONS[::-1]):
        (holes,) = cubical_persistence(image, construction=construction, dimensions=(1,))
        (parts,) = cubical_persistence(framed, construction=other, dimensions=(0,), superlevel=True)
        np.testing.assert_array_equal(as_multiset(holes.values), as_multiset(parts.values[:, ::-1]))


@settings(deadline=None, max_examples=60)
@given(small_images(), st.data(), st.sampled_from(CONSTRUCTIONS))
def test_diagrams_move_no_further_than_pixels(image, data, construction):
    image = np.clip(image, -100, 100)
    moves = data.draw(st.lists(st.floats(-3, 3), min_size=image.size, max_size=image.size))
    moved = image + np.reshape(moves, image.shape)
    first = cubical_persistence(image, construction=construction, essential=True)
    second = cubical_persistence(moved, construction=construction, essential=True)
    for one, other in zip(first, second, strict=True):
        distance = gudhi.bottleneck_distance(one.values, other.values, 0)
        assert distance <= abs(moved - image).max() + 1e-9


@settings(deadline=None, max_examples=40)
@given(small_images(), st.sampled_from(CONSTRUCTIONS))
def test_diagrams_do_not_depend_on_the_orientation(image, construction):
    expected = cubical_persistence(image, construction=construction)
    for turned in (image.T, image[::-1], image[:, ::-1], np.rot90(image)):
        for ours, theirs in zip(cubical_persistence(turned, construction=construction), expected, strict=True):
            np.testing.assert_array_equal(as_multiset(ours.values), as_multiset(theirs.values))


def test_a_ring_closed_at_corners_by_hand():
    # Four low pixels that touch at corners only, around a pixel of 9, in a plain of 5.
    image = np.full((5, 5), 5)
    image[2, 2] = 9
    image[1, 2], image[2, 3], image[3, 2], image[2, 1] = 1, 2, 3, 4
    image = image.astype(np.uint8)
    components, holes = cubical_persistence(image, essential=True)
    assert components.indices.tolist() == [[7, -1]]
    assert holes.values.tolist() == [[4, 9]]
    assert holes.indices.tolist() == [[11, 12]]
    # As vertices, they meet over the plain: 8 is its corner between the first two, and 16 that between the last two.
    components, holes = cubical_persistence(image, construction="vertices", essential=True)
    assert {tuple(pair) for pair in components.indices.tolist()} == {(7, -1), (13, 8), (11, 6), (17, 16)}
    assert holes.values.tolist() == [[5, 9]]
    assert holes.indices.tolist() == [[18, 12]]


def test_a_divided_hole_by_hand():
    # The wall of 1 closes around both halves; the bridge of 4 then divides them, and the lower half is new.
    image = np.ones((5, 7), np.float32)
    image[1:4, 1:3], image[1:4, 3], image[1:4, 4:6] = 6, 4, 8
    components, holes = cubical_persistence(image)
    assert len(components.values) == 0
    assert as_multiset(holes.values).tolist() == [[4, 6], [1, 8]]
    # Of equal pixels the last in raster order closes the loop (the corner, 34, is not needed) and is filled last.
    assert {tuple(pair) for pair in holes.indices.tolist()} == {(24, 23), (33, 26)}


def test_a_saddle_that_closes_two_loops_counts_once():
    # Otherwise, the edges of a checkerboard would outgrow the room for them.
    _, downhill, _ = tables(10, diagonal=True)
    masks = np.full(100, 0b01010101, np.uint8)
    masks[33] = 0b10101010
    middles, ends = np.zeros(20, np.uint32), np.zeros((20, 2), np.uint32)
    saddles = np.array([33, 33, 55], np.uint32)
    assert _start(saddles, masks, downhill, middles, ends) == 3
    assert middles[:3].tolist() == [33, 33, 33]
    assert sorted({*ends[:3].ravel().tolist()}) == [22, 24, 42, 44]


def test_border_pixels_belong_to_the_outside():
    image = np.zeros((3, 5), np.uint8)
    image[1, 2] = 7
    assert cubical_persistence(image)[1].values.tolist() == [[0, 7]]
    image[0, 2] = 7
    for construction in CONSTRUCTIONS:
        assert len(cubical_persistence(image, construction=construction)[1].values) == 0
    image[0, 2], image[0, 1] = 0, 7
    # At a corner, holes touch only if they are made of vertices.
    assert len(cubical_persistence(image, construction="top_cells")[1].values) == 1
    assert len(cubical_persistence(image, construction="vertices")[1].values) == 0


def test_the_class_that_never_dies_is_the_last_point():
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 9)).astype(np.uint8)
    components, holes = cubical_persistence(images, essential=True)
    assert components.values.dtype == np.float32
    assert holes.values.dtype == np.uint8
    for number, image in enumerate(images):
        assert components[number][-1].tolist() == [image.min(), np.inf]
        assert np.isfinite(components[number][:-1]).all()
        last = components.indices[components.offsets[number + 1] - 1]
        assert last.tolist() == [image.argmin(), -1]
    finite = cubical_persistence(images)[0]
    assert finite.values.dtype == np.uint8
    np.testing.assert_array_equal(components.finite().values, finite.values)
    assert cubical_persistence(images[:0], essential=True)[0].values.dtype == np.float32


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
def test_superlevel_components_that_never_die_end_below_everything(construction):
    images = np.random.default_rng(0).integers(0, 9, (4, 7, 8))
    options = {"construction": construction, "essential": True, "dimensions": (0,)}
    (below,) = cubical_persistence(-images.astype(np.float32), **options)
    for dtype in (np.uint8, np.float32):
        (above,) = cubical_persistence(images.astype(dtype), superlevel=True, **options)
        last = above.offsets[1:] - 1
        assert above.values[last].tolist() == [[image.max(), -np.inf] for image in images]
        np.testing.assert_array_equal(above.values, -below.values)
        np.testing.assert_array_equal(above.indices, below.indices)
        rising = betti_curves(below, np.arange(-9.5, 1))
        falling = betti_curves(above, np.arange(0.5, 10) / above.scale)
        np.testing.assert_array_equal(falling[:, :9], rising[:, 9:0:-1])


def test_bars_of_the_least_length_are_left_out():
    images = np.random.default_rng(1).integers(0, 256, (20, 16, 16)).astype(np.uint8)
    for dtype, unit in ((np.uint8, 1), (np.float32, 1 / 256), (np.float64, 1 / 256)):
        scaled = images if dtype == np.uint8 else (images * unit).astype(dtype)
        for everything, some in zip(
            cubical_persistence(scaled), cubical_persistence(scaled, min_persistence=20 * unit), strict=True
        ):
            assert (everything.persistences == 20 * unit).any()
            expected = everything.longer_than(20 * unit)
            np.testing.assert_array_equal(some.values, expected.values)
            np.testing.assert_array_equal(some.offsets, expected.offsets)


def test_dimensions_come_alone_and_in_the_order_asked_for():
    images = np.random.default_rng(2).integers(0, 9, (3, 12, 11)).astype(np.float64)
    both = cubical_persistence(images)
    assert [one.dimension for one in both] == [0, 1]
    for dimension in (0, 1):
        (alone,) = cubical_persistence(images, dimensions=(dimension,))
        swapped = cubical_persistence(images, dimensions=[1, 0])[1 - dimension]
        for other in (alone, swapped):
            assert other.dimension == dimension
            np.testing.assert_array_equal(other.indices, both[dimension].indices)
            np.testing.assert_array_equal(other.offsets, both[dimension].offsets)


def test_zeros_of_both_signs_and_the_smallest_numbers():
    for dtype in (np.float32, np.float64):
        tiny = np.finfo(dtype).smallest_subnormal
        image = np.array([[0.0, tiny, -0.0, -tiny, 0.0, tiny, -tiny]], dtype)
        assert_agrees_with_reference(image, "top_cells")
        # Zeros of both signs are equal: the first of them is the elder, and between neighbors there is no bar.
        found = cubical_persistence(np.array([[0.0, 2.0, -0.0], [-0.0, 2.0, 0.0], [2.0, 3.0, -0.0]], dtype))[0]
        assert found.indices.tolist() == [[2, 1]]
        largest = np.finfo(dtype).max
        image = np.array([[-largest, largest, 0.0, largest, -1.0]], dtype)
        found = cubical_persistence(image, essential=True)[0]
        assert as_multiset(found.values).tolist() == [[-1.0, largest], [0.0, largest], [-largest, np.inf]]


def test_batches_have_the_shape_of_the_images():
    images = np.random.default_rng(3).integers(0, 99, (2, 3, 8, 10)).astype(np.uint8)
    for threads in (None, 1, 3, 50):
        for together in cubical_persistence(images, threads=threads):
            assert together.shape == (2, 3)
            for position in np.ndindex(2, 3):
                alone = cubical_persistence(images[position])[together.dimension]
                assert alone.shape == ()
                np.testing.assert_array_equal(together[position], alone.values)


def test_many_blocks_are_put_together_in_their_order():
    # More pixels than one block of work holds.
    images = np.random.default_rng(4).integers(0, 256, (9, 200, 180)).astype(np.uint8)
    together = cubical_persistence(images, threads=2)
    for number in (0, 5, 8):
        for dimension, alone in enumerate(cubical_persistence(images[number], threads=1)):
            np.testing.assert_array_equal(together[dimension][number], alone.values)


@pytest.mark.parametrize("shape", [(0, 5, 4), (0, 3, 5, 4), (3, 0, 5, 4)])
def test_empty_batches_have_no_points(shape):
    for found in cubical_persistence(np.zeros(shape)):
        assert found.shape == shape[:-2]
        assert found.values.shape == found.indices.shape == (0, 2)


def test_the_layout_in_memory_does_not_matter():
    images = np.random.default_rng(5).integers(0, 50, (4, 3, 12, 9)).astype(np.float32)
    expected = cubical_persistence(images)
    locked = images.copy()
    locked.flags.writeable = False
    strided = np.zeros((8, 3, 24, 9), np.float32)[::2, :, ::2]
    strided[:] = images
    layouts = {
        "channels last": np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "Fortran order": np.asfortranarray(images),
        "backwards": images[..., ::-1].copy()[..., ::-1],
        "strided": strided,
        "read-only": locked,
        "foreign byte order": images.astype(images.dtype.newbyteorder()),
    }
    for same in layouts.values():
        np.testing.assert_array_equal(same, images)
        for ours, theirs in zip(cubical_persistence(same), expected, strict=True):
            np.testing.assert_array_equal(ours.values, theirs.values)
            np.testing.assert_array_equal(ours.indices, theirs.indices)
    repeated = np.broadcast_to(images[0, 0], (5, 12, 9))
    for ours, theirs in zip(cubical_persistence(repeated), cubical_persistence(images[0, 0]), strict=True):
        np.testing.assert_array_equal(ours[4], theirs.values)


def test_python_threads_may_call_at_once():
    images = np.random.default_rng(6).integers(0, 256, (4, 30, 40, 40)).astype(np.uint8)
    expected = [cubical_persistence(part, threads=1) for part in images]
    found = [None] * 4

    def work(number):
        for _ in range(5):
            found[number] = cubical_persistence(images[number], threads=2)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for ours, theirs in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        np.testing.assert_array_equal(ours.values, theirs.values)
        np.testing.assert_array_equal(ours.offsets, theirs.offsets)


class Holes(Dataset):
    """Numbers of holes in seeded noise, counted wherever the item is asked for."""

    def __len__(self):
        return 6

    def __getitem__(self, number):
        image = np.random.default_rng(number).integers(0, 256, (20, 20)).astype(np.uint8)
        return len(cubical_persistence(image)[1].values)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_of_a_data_loader_may_call():
    expected = [Holes()[number] for number in range(6)]
    loader = DataLoader(Holes(), batch_size=3, num_workers=2, multiprocessing_context="fork")
    assert [int(count) for batch in loader for count in batch] == expected
