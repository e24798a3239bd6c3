"""A trained-looking student, and real pictures for it."""

from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from persistill.models import Network, build


@pytest.fixture(scope="session")
def pictures() -> Tensor:
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
def student(pictures: Tensor) -> Network:
    torch.manual_seed(0)
    network = build("wrn-10-1", 1, 10)
    # Batch norm statistics of real pictures, not the initial ones.
    with torch.no_grad():
        for _ in range(20):
            network((pictures / 255 - 0.31) / 0.38)
    return network.train()
