"""A trained-looking student, and real images for it."""

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from persistill.models import Network, build


@pytest.fixture(scope="session")
def images() -> Tensor:
    """(9, 1, 8, 8) uint8: handwritten digits."""
    return torch.from_numpy(load_digits().images[:9] * (255 / 16)).round().to(torch.uint8)[:, None]


@pytest.fixture
def about() -> dict[str, Any]:
    return {
        "classes": [str(digit) for digit in range(10)],
        "mean": [0.31],
        "std": [0.38],
        "shape": [1, 8, 8],
        "view": "image",
    }


@pytest.fixture
def student(images: Tensor) -> Network:
    torch.manual_seed(0)
    network = build("wrn-10-1", 1, 10)
    # Batch norm statistics of real images, not the initial ones.
    with torch.no_grad():
        for _ in range(20):
            network((images / 255 - 0.31) / 0.38)
    return network.train()


@pytest.fixture(scope="session")
def digits() -> tuple[Tensor, Tensor]:
    """Images (200, 1, 8, 8) uint8 and their classes."""
    found = load_digits()
    return (
        torch.from_numpy(found.images[:200] * (255 / 16)).round().to(torch.uint8)[:, None],
        torch.from_numpy(found.target[:200]),
    )


@pytest.fixture(scope="session")
def settings() -> dict[str, Any]:
    """What the trained student's weights file says."""
    return {
        "classes": [str(digit) for digit in range(10)],
        "mean": [0.31],
        "std": [0.38],
        "shape": [1, 8, 8],
        "view": "image",
        "temperature": 1.5,
    }


@pytest.fixture(scope="session")
def trained(digits: tuple[Tensor, Tensor]) -> Network:
    """A student that knows most of the digits."""
    torch.manual_seed(0)
    network = build("wrn-10-1", 1, 10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(25):
        for images, targets in zip(digits[0][9:].split(64), digits[1][9:].split(64), strict=True):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network((images / 255 - 0.31) / 0.38).logits, targets).backward()
            optimizer.step()
    return network.eval()
