import math
import threading

import gudhi
import numpy as np
import pytest
import torch
from hard_signals import as_multiset, gudhi_diagram, hard_signals, path_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from ripser import ripser
from torch.utils.data import DataLoader, Dataset

from persistill.topology import (
    Diagrams,
    betti_curves,
    bottleneck,
    columns,
    rows,
    serpentine,
    sublevel_persistence,
    wasserstein,
)
from persistill.topology._reference.sublevel_1d import sublevel_pairs

HARD = hard_signals()
# Few values make ties and plateaus likely, arbitrary floats bring every scale.
TIES = st.lists(st.integers(0, 5), min_size=1, max_size=40)
FLOATS = st.lists(st.floats(-1e300, 1e300, allow_nan=False), min_size=1, max_size=40)


def signal_of(values):
    return np.array(values, np.float64)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("essential", [False, True])
@pytest.mark.parametrize("least", [0, 5])
def test_few_signals_are_scanned_as_many_are(dtype, essential, least):
    # Many go in step, few one after the other.
    signals = np.stack([np.resize(signal, 1300) for signal in HARD.values()] * 2).astype(dtype)
    options = {"min_persistence": least, "essential": essential, "indices": True}
    many = sublevel_persistence(signals, **options)
    bounds = many.offsets
    for start, count in ((0, 10), (10, 1), (11, 3), (20, 10), (30, 1), (31, 2)):
        few = sublevel_persistence(signals[start : start + count], **options)
        taken = slice(bounds[start], bounds[start + count])
        np.testing.assert_array_equal(few.values, many.values[taken])
        np.testing.assert_array_equal(few.indices, many.indices[taken])
        np.testing.assert_array_equal(few.offsets, bounds[start : start + count + 1] - bounds[start])


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_hard_signals_agree_with_gudhi(name, dtype):
    signal = HARD[name].astype(dtype)
    found = sublevel_persistence(signal)
    assert found.values.dtype == dtype
    np.testing.assert_array_equal(as_multiset(found[0]), as_multiset(gudhi_diagram(signal)))


def test_real_images_agree_with_gudhi_and_ripser(cifar):
    images = cifar(list(range(8)))
    for scan in (rows, columns):
        signals = scan(images)
        found = sublevel_persistence(signals)
        assert found.shape == (8, 3)
        for b in range(8):
            expected = gudhi_diagram(signals[b, 1])
            np.testing.assert_array_equal(as_multiset(found[b, 1]), as_multiset(expected))
        signal = signals[0, 0] / 255
        theirs = ripser(path_matrix(signal), maxdim=0, distance_matrix=True)["dgms"][0]
        theirs = theirs[np.isfinite(theirs[:, 1]) & (theirs[:, 1] - theirs[:, 0] > 1e-3)]
        ours = as_multiset(sublevel_persistence(signal, min_persistence=1e-3)[0])
        np.testing.assert_allclose(ours, as_multiset(theirs), atol=1e-6)


@settings(deadline=None, max_examples=150)
@given(TIES | FLOATS)
def test_pairs_agree_with_a_union_of_sorted_samples_in_every_index(values):
    signal = signal_of(values)
    expected = {pair for pair in sublevel_pairs(values) if pair[1] < 0 or signal[pair[0]] < signal[pair[1]]}
    found = sublevel_persistence(signal, essential=True)
    assert set(map(tuple, found.indices.tolist())) == expected
    assert len(found.indices) == len(expected)


@settings(deadline=None, max_examples=50)
@given(TIES)
def test_superlevel_sets_are_sublevel_sets_upside_down(values):
    signal = signal_of(values)
    above, below = sublevel_persistence(signal, superlevel=True), sublevel_persistence(-signal)
    np.testing.assert_array_equal(above.indices, below.indices)
    np.testing.assert_array_equal(above.values, -below.values)
    levels = sublevel_persistence(signal.astype(np.uint8), superlevel=True)
    np.testing.assert_array_equal(levels.values, above.values)


@settings(deadline=None, max_examples=50)
@given(TIES, st.integers(-50, 50))
def test_a_constant_added_moves_the_diagram(values, shift):
    signal = signal_of(values)
    moved, first = sublevel_persistence(signal + shift), sublevel_persistence(signal)
    np.testing.assert_array_equal(moved.values, first.values + shift)
    np.testing.assert_array_equal(moved.indices, first.indices)


@settings(deadline=None, max_examples=50)
@given(TIES)
def test_reversing_a_signal_keeps_its_diagram(values):
    signal = signal_of(values)
    there, back = sublevel_persistence(signal)[0], sublevel_persistence(signal[::-1])[0]
    np.testing.assert_array_equal(as_multiset(there), as_multiset(back))


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_diagrams_are_stable(data):
    first = signal_of(data.draw(st.lists(st.floats(-10, 10), min_size=2, max_size=25)))
    noise = signal_of(data.draw(st.lists(st.floats(-3, 3), min_size=len(first), max_size=len(first))))
    one = sublevel_persistence(first, essential=True)[0]
    other = sublevel_persistence(first + noise, essential=True)[0]
    assert gudhi.bottleneck_distance(one, other) <= abs(noise).max() + 1e-9


@settings(deadline=None, max_examples=50)
@given(TIES, st.sampled_from([1e-320, 1e-300, 1e-30, 1e30, 1e300]))
def test_scales_do_not_matter(values, scale):
    signal = signal_of(values)
    scaled = sublevel_persistence(signal * scale)
    np.testing.assert_array_equal(scaled.indices, sublevel_persistence(signal).indices)


def test_short_bars_are_left_out_and_bars_of_exactly_that_length_too():
    signal = np.array([0, 5, 1, 9, 3, 8, 2], np.uint8)
    everything = sublevel_persistence(signal)
    some = sublevel_persistence(signal, min_persistence=4)
    assert sorted(everything.persistences.tolist()) == [4, 5, 7]
    assert sorted(some.persistences.tolist()) == [5, 7]
    assert sorted(sublevel_persistence(signal, min_persistence=3.99).persistences.tolist()) == [4, 5, 7]


def test_the_class_that_never_dies_comes_last_and_only_if_asked_for():
    signal = np.array([4, 7, 2, 9, 5], np.uint8)
    assert np.isfinite(sublevel_persistence(signal).values).all()
    found = sublevel_persistence(signal, essential=True)
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found[0][-1], [2, np.inf])
    np.testing.assert_array_equal(found.indices[-1], [2, -1])
    tensors = sublevel_persistence(torch.from_numpy(signal), essential=True)
    assert tensors.values.dtype == torch.float32
    np.testing.assert_array_equal(tensors.values.numpy(), found.values)


def test_a_batch_is_its_signals_one_by_one():
    batch = np.random.default_rng(1).integers(0, 30, (4, 3, 700), dtype=np.uint8)
    together = sublevel_persistence(batch, threads=2)
    assert together.shape == (4, 3)
    for b in range(4):
        for c in range(3):
            alone = sublevel_persistence(batch[b, c])
            np.testing.assert_array_equal(together[b, c], alone[0])
    np.testing.assert_array_equal(together.diagram_index, np.repeat(np.arange(12), np.diff(together.offsets)))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 140),
    st.sampled_from([1, 2, 15, 16, 17, 33, 64]),
    st.sampled_from([np.uint8, np.float32, np.float64]),
    st.sampled_from([0.0, 2.0, 3.5]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_batches_of_any_size_agree_with_the_reference(count, samples, dtype, least, superlevel, seed):
    batch = np.random.default_rng(seed).integers(0, 9, (count, samples)).astype(dtype)
    found = sublevel_persistence(batch, superlevel=superlevel, min_persistence=least, essential=True)
    sign = -1 if superlevel else 1
    for number, signal in enumerate(batch.astype(int) * sign):
        expected = {(b, d) for b, d in sublevel_pairs(signal.tolist()) if d < 0 or signal[d] - signal[b] > least}
        part = slice(found.offsets[number], found.offsets[number + 1])
        assert set(map(tuple, found.indices[part].tolist())) == expected
        assert len(found.indices[part]) == len(expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_superlevel_components_that_never_die_end_below_everything(dtype):
    signals = np.array([[3, 1, 4, 1, 5, 0], [2, 2, 2, 2, 2, 2]], dtype)
    found = sublevel_persistence(signals, superlevel=True, essential=True)
    assert [one[-1].tolist() for one in found] == [[5, -np.inf], [2, -np.inf]]
    assert found.indices[found.offsets[1:] - 1].tolist() == [[4, -1], [0, -1]]
    assert np.isposinf(found.persistences[found.offsets[1:] - 1]).all()
    # As many components as there are runs of samples at or above a level.
    expected = [[1, 1, 3, 3, 2, 1, 0], [1, 1, 1, 0, 0, 0, 0]]
    grid = np.arange(7, dtype=np.float32) / np.float32(found.scale)
    np.testing.assert_array_equal(betti_curves(found, grid), expected)
    below = sublevel_persistence(-signals.astype(np.float64), essential=True)
    np.testing.assert_array_equal(bottleneck(found, found), [0, 0])
    upside_down = Diagrams(-below.values, below.offsets, scale=found.scale)
    np.testing.assert_allclose(bottleneck(found, upside_down), [0, 0], atol=1e-7)
    np.testing.assert_array_equal(wasserstein(found, below), [np.inf, np.inf])


def test_gradients_of_superlevel_components_that_never_die_reach_the_maximum():
    signal = torch.tensor([3.0, 1, 4, 1, 5, 0], requires_grad=True)
    found = sublevel_persistence(signal, superlevel=True, essential=True)
    assert found[0][-1].tolist() == [5, -math.inf]
    found.births[-1].backward()
    assert signal.grad.tolist() == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_signals_longer_than_a_chunk_agree_with_gudhi(dtype):
    rng = np.random.default_rng(8)
    walk = np.cumsum(rng.integers(-3, 4, (20, 5003)), 1)
    batch = (walk - walk.min(1, keepdims=True)).clip(0, 255).astype(dtype)
    found = sublevel_persistence(batch)
    for number in (0, 15, 16, 19):
        np.testing.assert_array_equal(as_multiset(found[number]), as_multiset(gudhi_diagram(batch[number])))


def test_lengths_are_compared_in_float64():
    # In float32 the length rounds to that of the first float32 below 0.1, the threshold.
    least = float(np.nextafter(np.float32(0.1), np.float32(0)))
    birth = np.float32(0.25)
    death = np.nextafter(np.float32(birth + np.float32(least)), np.float32(1))
    signal = np.array([0, death, birth, 1], np.float32)
    length = float(death) - float(birth)
    assert len(sublevel_persistence(signal, min_persistence=np.nextafter(length, 0))[0]) == 1
    assert len(sublevel_persistence(signal, min_persistence=length)[0]) == 0


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_indices_are_left_out_if_not_wanted(kind):
    batch = kind(np.random.default_rng(9).random((70, 90)))
    with_indices, without = sublevel_persistence(batch), sublevel_persistence(batch, indices=False)
    assert without.indices is None
    np.testing.assert_array_equal(without.values, with_indices.values)
    np.testing.assert_array_equal(without.offsets, with_indices.offsets)


def test_levels_near_the_top_have_a_least_one():
    found = sublevel_persistence(
        np.array([[254, 255, 253, 255], [255] * 4], np.uint8), min_persistence=9, essential=True
    )
    assert found.indices.tolist() == [[2, -1], [0, -1]]


def test_memory_order_does_not_matter():
    batch = np.random.default_rng(2).random((6, 5, 40))
    expected = sublevel_persistence(batch.copy())
    for view in (np.asfortranarray(batch), batch[:, ::-1][:, ::-1], np.repeat(batch, 2, -1)[..., ::2]):
        found = sublevel_persistence(view)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.indices, expected.indices)
    strided = torch.from_numpy(batch).transpose(0, 1)
    np.testing.assert_array_equal(
        sublevel_persistence(strided).values, sublevel_persistence(batch.swapaxes(0, 1)).values
    )


def test_empty_batches_are_fine_and_empty_signals_are_not():
    found = sublevel_persistence(np.zeros((0, 3, 10), np.float32))
    assert found.shape == (0, 3)
    assert found.values.shape == (0, 2)
    with pytest.raises(ValueError, match=r"N >= 1 samples; got \(2, 0\)"):
        sublevel_persistence(np.zeros((2, 0)))
    with pytest.raises(ValueError, match="N >= 1 samples"):
        sublevel_persistence(np.array(3.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_values_that_are_not_finite_are_named(bad, kind):
    signals = np.zeros((3, 4, 5), np.float32)
    signals[1, 2, 3] = bad
    with pytest.raises(ValueError, match=rf"signals\[1, 2, 3\] is {bad}; all values must be finite"):
        sublevel_persistence(kind(signals))


def test_other_kinds_of_input_are_refused():
    with pytest.raises(TypeError, match="uint8, float32 or float64; got int64"):
        sublevel_persistence(np.arange(3))
    with pytest.raises(TypeError, match="got float16"):
        sublevel_persistence(torch.zeros(3, dtype=torch.float16))
    with pytest.raises(TypeError, match="NumPy array or a torch tensor; got list"):
        sublevel_persistence([1.0, 2.0])
    with pytest.raises(ValueError, match="min_persistence must be 0 or more; got -1"):
        sublevel_persistence(np.zeros(3), min_persistence=-1)
    with pytest.raises(ValueError, match="min_persistence must be 0 or more; got nan"):
        sublevel_persistence(np.zeros(3), min_persistence=math.nan)
    with pytest.raises(ValueError, match="threads must be at least 1"):
        sublevel_persistence(np.zeros(3), threads=0)


def test_tensors_give_what_arrays_give():
    batch = np.random.default_rng(3).random((5, 60)).astype(np.float32)
    arrays, tensors = sublevel_persistence(batch), sublevel_persistence(torch.from_numpy(batch))
    for name in ("values", "offsets", "indices"):
        assert isinstance(getattr(tensors, name), torch.Tensor)
        np.testing.assert_array_equal(getattr(tensors, name).numpy(), getattr(arrays, name))


def test_gradient_worked_out_by_hand():
    # One finite bar: born at x[2] = 1, dies at x[1] = 2. Its length falls with its birth and rises with its death.
    signal = torch.tensor([0.0, 2.0, 1.0, 3.0], requires_grad=True)
    sublevel_persistence(signal).persistences.sum().backward()
    assert signal.grad.tolist() == [0, 1, -1, 0]


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    signals = torch.rand(3, 20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sublevel_persistence(x).values, signals)
    assert torch.autograd.gradcheck(lambda x: sublevel_persistence(x, superlevel=True).values, signals)
    assert torch.autograd.gradcheck(lambda x: sublevel_persistence(x, indices=False).values, signals)


def test_gradients_at_ties_are_finite():
    signal = torch.tensor([1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 1.0], requires_grad=True)
    sublevel_persistence(signal).persistences.square().sum().backward()
    assert torch.isfinite(signal.grad).all()


def test_scans_read_rows_and_columns():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert rows(image).tolist() == [1, 2, 3, 4, 5, 6]
    assert columns(image).tolist() == [1, 4, 2, 5, 3, 6]
    batch = torch.arange(24).reshape(2, 2, 2, 3)
    np.testing.assert_array_equal(columns(batch), rows(batch.transpose(-1, -2)))
    assert columns(batch).shape == (2, 2, 6)
    with pytest.raises(ValueError, match=r"\(\.\.\., H, W\); got \(6,\)"):
        rows(np.arange(6))


def test_a_serpentine_never_jumps():
    image = np.arange(20).reshape(4, 5)
    assert serpentine(image[:, :3]).tolist() == [0, 1, 2, 7, 6, 5, 10, 11, 12, 17, 16, 15]
    places = np.stack(np.divmod(serpentine(image), 5))
    assert (np.abs(np.diff(places, axis=1)).sum(0) == 1).all()
    batch = torch.rand(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    found = serpentine(batch)
    np.testing.assert_array_equal(found.detach(), serpentine(batch.detach().numpy()))
    (found * torch.arange(20)).sum().backward()
    expected = np.broadcast_to(np.argsort(serpentine(np.arange(20).reshape(5, 4))).reshape(5, 4), (2, 3, 5, 4))
    np.testing.assert_array_equal(batch.grad, expected)


def test_two_threads_at_once_do_not_disturb_each_other():
    batches = [np.random.default_rng(seed).integers(0, 256, (200, 900), dtype=np.uint8) for seed in range(4)]
    expected = [sublevel_persistence(batch, threads=1).indices for batch in batches]
    found = [None] * 4

    def work(k):
        for _ in range(3):
            found[k] = sublevel_persistence(batches[k], threads=2).indices

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Lifetimes(Dataset):
    """Total persistence of seeded noise, computed wherever the item is asked for."""

    def __len__(self):
        return 8

    def __getitem__(self, number):
        signal = np.random.default_rng(number).integers(0, 256, (40, 3000), dtype=np.uint8)
        return int(sublevel_persistence(signal, threads=2).persistences.sum(dtype=np.int64))


# From Python 3.12 on, forking a process that has ever had threads is warned of.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:This DataLoader will create")
def test_forked_workers_compute_what_the_parent_computes():
    expected = [Lifetimes()[number] for number in range(8)]
    loader = DataLoader(Lifetimes(), batch_size=4, num_workers=2, multiprocessing_context="fork")
    found = [int(value) for batch in loader for value in batch]
    assert found == expected
