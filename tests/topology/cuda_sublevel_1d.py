"""Run by test_cuda.py, in a process of their own: on a GPU if there is one, else in Triton's interpreter."""

import numpy as np
import pytest
import torch
from hard_signals import hard_signals

from persistill.topology._reference.sublevel_1d import sublevel_pairs
from persistill.topology._triton import sublevel_1d as kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HARD = np.stack([np.resize(signal, 45) for signal in hard_signals().values()])


def expected(signal, threshold=0.0, essential=False):
    found = sublevel_pairs(signal.tolist())
    bars = sorted(pair for pair in found[:-1] if float(signal[pair[1]]) - float(signal[pair[0]]) > threshold)
    return [*bars, found[-1]] if essential else bars


def pairs(signals, threshold=0.0, **options):
    where, counts = kernels.padded_pairs(torch.from_numpy(signals).to(DEVICE), threshold, **options)
    found = [list(map(tuple, rows[:count].tolist())) for rows, count in zip(where, counts, strict=True)]
    rest = [rows[count:] for rows, count in zip(where, counts, strict=True)]
    assert all((one == -1).all() for one in rest)
    return found


def test_hard_signals_of_levels():
    assert pairs(HARD, essential=True) == [expected(signal.astype(int), 0, essential=True) for signal in HARD]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hard_signals_of_floats(dtype):
    signals = (HARD[1::5] / 255).astype(dtype)
    assert pairs(signals) == [expected(signal) for signal in signals]


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 5])
def test_all_short_signals_of_three_values(samples):
    random = np.random.default_rng(samples)
    signals = random.integers(0, 3, (min(12, 3**samples), samples), dtype=np.uint8)
    assert pairs(signals, essential=True) == [expected(signal.astype(int), 0, essential=True) for signal in signals]


def test_long_signals_take_several_steps_of_the_tree():
    random = np.random.default_rng(0)
    signal = np.cumsum(random.integers(-3, 4, 2500)).astype(np.float32)  # ties, and bars over many blocks
    assert pairs(signal[None], essential=True) == [expected(signal, essential=True)]


def test_thresholds_are_compared_in_float64():
    signal = np.float32([0, 0.1, 0, 0.2, 0, 0.3, -1])
    for threshold in (float(np.float32(0.1)), np.nextafter(float(np.float32(0.1)), 0), 0.1):
        assert pairs(signal[None], threshold) == [expected(signal, threshold)]


def test_superlevel_sets():
    signals = HARD[[10, 14, 23]]
    assert pairs(signals, superlevel=True) == [expected(-signal.astype(int)) for signal in signals]
    floats = signals.astype(np.float64)
    assert pairs(floats, superlevel=True) == [expected(-signal) for signal in floats]


def test_values_are_those_at_the_indices(monkeypatch):
    signals = HARD[[14, 23, 0]]
    bars, counts = kernels.padded_bars(torch.from_numpy(signals).to(DEVICE), 5.0)
    for signal, found, count in zip(signals, bars, counts, strict=True):
        places = np.array(expected(signal.astype(int), 5), int).reshape(-1, 2)
        np.testing.assert_array_equal(found[:count].cpu(), signal[places])


def test_small_working_memory_changes_nothing(monkeypatch):
    monkeypatch.setattr(kernels, "_SCRATCH", 1000)
    assert len(kernels.blocks(3, 1, 45, torch.uint8)) == 2
    assert pairs(HARD[[14, 23, 18]]) == [expected(signal.astype(int)) for signal in HARD[[14, 23, 18]]]


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_is_not_finite_is_marked():
    signals = np.float32([[1, 2, 0, 3], [1, np.nan, 0, 3], [1, np.inf, 0, 3], [1, -np.inf, 0, 3]])
    _, counts = kernels.padded_pairs(torch.from_numpy(signals).to(DEVICE), 0.0)
    assert counts.tolist() == [1, -1, -1, -1]


def test_diagrams_and_their_gradients():
    signals = torch.tensor([[[3.0, 1, 2, 0, 5, 4]], [[1.0, 1, 1, 1, 1, 1]]], device=DEVICE, requires_grad=True)
    options = {"superlevel": False, "essential": True, "indices": True}
    diagrams = kernels.sublevel_persistence(signals, 0.0, **options)
    assert diagrams.shape == (2, 1)
    assert diagrams.offsets.tolist() == [0, 3, 4]
    assert diagrams.values.tolist() == [[1, 2], [4, 5], [0, torch.inf], [1, torch.inf]]
    assert diagrams.indices.tolist() == [[1, 2], [5, 4], [3, -1], [0, -1]]
    diagrams.values[:2].diff(dim=1).sum().backward()
    assert signals.grad[0, 0].tolist() == [0, -1, 1, 0, 1, -1]
    assert not signals.grad[1].any()


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_diagrams_of_levels_of_nothing_and_of_nan():
    options = {"superlevel": False, "indices": False}
    levels = torch.tensor([[9, 200, 3]], dtype=torch.uint8, device=DEVICE)
    assert kernels.sublevel_persistence(levels, 0.0, essential=False, **options).values.tolist() == [[9, 200]]
    found = kernels.sublevel_persistence(levels, 0.0, essential=True, **options)
    assert found.values.dtype == torch.float32
    assert found.values.tolist() == [[9, 200], [3, torch.inf]]
    options = {**options, "superlevel": True}
    found = kernels.sublevel_persistence(levels, 0.0, essential=True, **options)
    assert found.values.tolist() == [[200, -torch.inf]]
    assert len(kernels.sublevel_persistence(levels[:0], 0.0, essential=True, **options)) == 0
    with pytest.raises(ValueError, match=r"signals\[1, 2\] is nan; all values must be finite"):
        strange = torch.zeros(2, 3, device=DEVICE)
        strange[1, 2] = torch.nan
        kernels.sublevel_persistence(strange, 0.0, essential=False, **options)
