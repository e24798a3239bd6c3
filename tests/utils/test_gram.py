import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from persistill.losses import gram
from persistill.utils import gram as gram_module
from persistill.utils.gram import gram_matrix


@pytest.fixture(autouse=True)
def _also_small_ones(monkeypatch):
    monkeypatch.setattr(gram_module, "_FEW", 0)


def rows(count, columns, seed=0):
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed))


def pairs(data):
    """One pair at a time, in float64."""
    data = data.double()
    return torch.stack([torch.stack([(one * other).sum() for other in data]) for one in data])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 11), st.integers(1, 40), st.sampled_from([0, 1023, 1024, 2**14 - 3, 2**15 + 1]))
def test_all_pairs_of_any_number_of_rows(count, columns, more):
    data = rows(count, columns + more)
    found = gram_matrix(data)
    assert found.shape == (count, count)
    assert torch.equal(found, found.T)
    torch.testing.assert_close(found.double(), pairs(data), rtol=0, atol=3e-7 * float(pairs(data).max()))


def test_rounding_is_no_worse_than_that_of_the_product():
    data = rows(64, 50_000) + 1
    exact = data.double() @ data.double().T
    ours, theirs = ((found.double() - exact).abs().max() for found in (gram_matrix(data), data @ data.T))
    assert ours <= 2 * theirs
    assert ours < 1e-6 * exact.max()


def test_any_number_of_threads_gives_the_same_bits():
    data, before = rows(20, 70_000), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(gram_matrix(data))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_gradients_are_those_of_the_product():
    ours, theirs = (rows(9, 300).requires_grad_() for _ in range(2))
    weights = rows(9, 9, seed=1)  # not symmetric
    (gram_matrix(ours) * weights).sum().backward()
    ((theirs @ theirs.T) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)

    def bent(product):
        """A gradient's own gradient."""
        data = (rows(5, 30) / 6).requires_grad_()
        (first,) = torch.autograd.grad((product(data) ** 2).sum(), data, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), data)
        return second

    torch.testing.assert_close(bent(gram_matrix), bent(lambda data: data @ data.T), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        torch.func.grad(lambda data: (gram_matrix(data) ** 2).sum())(rows(5, 30) / 6),
        torch.func.grad(lambda data: ((data @ data.T) ** 2).sum())(rows(5, 30) / 6),
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_comes_through(bad):
    data = rows(6, 2000)
    data[2, 1999] = bad
    found = gram_matrix(data).isfinite()
    assert not found[2].any()
    assert not found[:, 2].any()
    assert found.sum() == 25


def test_layouts_and_types():
    maps = torch.randn(8, 6, 5, 5).to(memory_format=torch.channels_last)
    torch.testing.assert_close(gram(maps), gram(maps.contiguous()))
    torch.testing.assert_close(gram(maps.half()), gram(maps.half().float()))
    assert gram(maps.bfloat16()).dtype == torch.float32
    exact = rows(8, 50).double()
    assert torch.equal(gram_matrix(exact), exact @ exact.T)
    assert gram_matrix(torch.zeros(4, 0)).tolist() == np.zeros((4, 4)).tolist()
    assert gram_matrix(torch.zeros(0, 4)).shape == (0, 0)


def test_small_ones_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(gram_module, "_FEW", 2**22)
    monkeypatch.setattr(gram_module, "_add_products", None)
    data = rows(8, 50)
    assert torch.equal(gram_matrix(data), data @ data.T)
    with pytest.raises(TypeError):
        gram_matrix(rows(128, 256))
