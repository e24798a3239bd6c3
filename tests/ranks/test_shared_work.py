"""How ranks share work out, whatever it is."""

import pytest
import torch
from ranks_in_threads import in_ranks
from torch import nn

from persistill.ranks import Ranks
from persistill.ranks.ranks import _pickled, _told_if_lost


@pytest.mark.parametrize("count", [0, 1, 5, 6])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_rank_takes_every_size_th_item_and_the_first_gets_all_in_order(size, count):
    done = []

    def work(ranks: Ranks) -> list[int]:
        def squares(numbers):
            for number in numbers:
                done.append((ranks.rank, number))
                yield number**2

        return list(ranks.share(count, squares))

    first, *others = in_ranks(size, work)
    assert first == [number**2 for number in range(count)]
    assert others == [[]] * (size - 1)
    assert {(number % size, number) for number in range(count)} <= set(done)
    # In the last round all do something.
    assert [sum(rank == one for one, _ in done) for rank in range(size)] == [-(-count // size)] * size


def test_a_mistake_of_one_rank_ends_all():
    met = []

    def work(ranks: Ranks) -> None:
        def failing(numbers):
            for number in numbers:
                if number == 1:
                    raise ValueError("of the second rank")
                yield number

        met.append(ranks.rank)
        list(ranks.share(4, failing))
        raise AssertionError("is not reached")

    with pytest.raises(ValueError, match="of the second rank"):
        in_ranks(2, work)
    assert sorted(met) == [0, 1]


def test_of_a_tensor_its_own_values_alone_are_sent():
    part = torch.zeros(100_000)[3:7]
    assert len(_pickled([part, {"more": part}])) < 2000
    with torch.inference_mode():
        inside = torch.arange(3) * 2
    (found,) = in_ranks(2, lambda ranks: ranks.to_leader([inside, ranks.rank]))[:1]
    assert [one[1] for one in found] == [0, 1]
    assert torch.equal(found[1][0], torch.tensor([0, 2, 4]))
    assert not found[1][0].is_inference()


def test_gradients_of_several_types_are_added_up_in_the_same_order_by_all():
    class Noting(Ranks):
        def __init__(self) -> None:
            super().__init__()
            self.size, self.types = 2, []

        def largest(self, *numbers: int) -> list[int]:
            return list(numbers)

        def _reduce(self, values: torch.Tensor) -> None:
            self.types.append(values.dtype)

    types = [torch.float64, torch.float32, torch.bfloat16]
    for order in (types, types[::-1]):  # one of which the order in memory is not
        ranks, parameters = Noting(), [nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in order]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        ranks.add_up(parameters)
        assert ranks.types == order


def test_memory_that_runs_out_here_is_not_another_rank_that_is_lost():
    with pytest.raises(torch.OutOfMemoryError), _told_if_lost():
        raise torch.OutOfMemoryError
