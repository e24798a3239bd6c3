"""The sentences under "Networks" in docs/conventions.md: each test holds that of its name."""

import math

import pytest
import torch
from torch import nn

from persistill import models


@pytest.fixture(params=["wrn-10-2", "resnet-8"])
def network(request):
    torch.manual_seed(0)
    return models.build(request.param, 3, 7).eval()


def test_model_output(network):
    logits, embedding, maps = network(torch.randn(4, 3, 12, 12))
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    assert torch.allclose(embedding @ last.weight.T + last.bias, logits, atol=1e-5)
    assert logits.shape == (4, 7)
    assert not torch.allclose(logits.exp().sum(1), torch.ones(4))
    sizes = [maps[name].shape[-1] for name in maps]
    assert sizes == sorted(sizes, reverse=True)


def test_sizes_of_feature_maps(network):
    assert network.spec.embedding_dim == network(torch.randn(1, 3, 8, 8)).embedding.shape[1]
    for height, width in [(13, 10), (8, 8), (5, 6)]:
        maps = network(torch.randn(2, 3, height, width)).feature_maps
        expected = {
            name: (2, channels, math.ceil(height / stride), math.ceil(width / stride))
            for name, (channels, stride) in network.spec.feature_maps.items()
        }
        assert {name: tuple(features.shape) for name, features in maps.items()} == expected
