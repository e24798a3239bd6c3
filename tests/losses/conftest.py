"""Features that are made up, for the tests of methods."""

import pytest
import torch

from persistill.structures import ModelOutput


@pytest.fixture
def made_up():
    """Features of a network with three stages, drawn from a seed."""

    def features(seed, batch=4, classes=5, channels=2, sides=(5, 3, 2), dtype=torch.float64):
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        maps = {
            f"stage{i}": draw(batch, channels * 2**i, side, side + 1).requires_grad_() for i, side in enumerate(sides)
        }
        return ModelOutput(draw(batch, classes).requires_grad_(), draw(batch, 3), maps)

    return features


@pytest.fixture
def trained():
    """Steps of a training of a loss's own parts: the term at each of them."""

    def train(learner, optimizer, steps, student, teacher, batch):
        values = []
        for _ in range(steps):
            (value,) = learner.terms(student, [teacher], batch).values()
            optimizer.zero_grad()
            value.backward()
            assert all(parameter.grad.any() for parameter in learner.parameters())
            optimizer.step()
            values.append(value.item())
        return values

    return train
