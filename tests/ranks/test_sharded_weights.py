"""Networks of which every rank holds a part answer as the whole one does, bit for bit."""

import copy

import pytest
import torch
from ranks_in_threads import in_ranks
from torch import nn

from persistill import models
from persistill.ranks import Ranks, hold_whole, holds_parts, shard_weights, whole_weights


class Tied(nn.Module):
    """Attention, whose weights are read by another module than theirs, and one weight of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(64, 80))

    def forward(self, x):
        return self.normed(self.second(self.first(self.attention(x, x, x)[0])))


def resnet() -> nn.Module:
    network = models.build("resnet-20", 3, 10, (32, 32))
    return network.to(memory_format=torch.channels_last)


def held(network: nn.Module) -> int:
    """Bytes of memory behind all parameters and buffers."""
    storages = [tensor.untyped_storage() for tensor in (*network.parameters(), *network.buffers())]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def answers(network: nn.Module, seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    output = network(torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)))
    return output if isinstance(output, torch.Tensor) else torch.cat([output.logits, output.embedding], 1)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("build", "shape"), [(resnet, (3, 32, 32)), (Tied, (5, 64))])
@torch.no_grad()
def test_answers_are_those_of_the_whole_network_of_which_each_rank_holds_its_share(build, shape, size):
    whole = build().eval().requires_grad_(requires_grad=False)
    expected = [answers(whole, rank, shape) for rank in range(size)]

    def work(ranks: Ranks) -> tuple[torch.Tensor, int]:
        own = copy.deepcopy(whole)
        with torch.no_grad():
            shard_weights(own, ranks)
            assert holds_parts(own)
            for (name, weight), (other, true) in zip(whole_weights(own), whole_weights(whole), strict=True):
                assert name == other
                assert torch.equal(weight, true)
                assert weight.stride() == true.stride()
            return answers(own, ranks.rank, shape), held(own)

    small = sum(4 * weight.numel() for weight in whole.parameters() if weight.numel() < 4096)
    large = sum(4 * weight.numel() for weight in whole.parameters() if weight.numel() >= 4096)
    for rank, (answer, own) in enumerate(in_ranks(size, work)):
        assert torch.equal(answer, expected[rank])
        assert own < small + 1.6 * large / size + 20_000
    assert not holds_parts(whole)


def test_the_whole_is_named_as_the_network_is():
    network = resnet()
    assert [name for name, _ in whole_weights(network)] == sorted(network.state_dict())


def test_what_is_held_whole_again_can_be_copied():
    whole = nn.Linear(100, 100).requires_grad_(requires_grad=False)

    def work(ranks: Ranks) -> nn.Module:
        own = copy.deepcopy(whole)
        shard_weights(own, ranks)
        hold_whole(own)
        assert not holds_parts(own)
        assert type(own) is nn.Linear
        return copy.deepcopy(own)

    for one in in_ranks(2, work):
        assert torch.equal(one.weight, whole.weight)
        assert set(one.state_dict()) == set(whole.state_dict())


def test_a_rank_alone_keeps_all():
    network = resnet()
    shard_weights(network, Ranks())
    assert not holds_parts(network)
