"""Real images for the tests of the topology room."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def cifar(shared: Callable[..., Path]) -> Callable[[list[int]], np.ndarray]:
    """CIFAR-10 test images by their row in the Parquet file: (n, 3, 32, 32) uint8."""
    parquet = pytest.importorskip("pyarrow.parquet")
    image = pytest.importorskip("PIL.Image")
    table = parquet.read_table(shared("data", "cifar10", "test.parquet"), columns=["img"])["img"]

    def images(numbers: list[int]) -> np.ndarray:
        opened = [image.open(io.BytesIO(table[number]["bytes"].as_py())).convert("RGB") for number in numbers]
        return np.stack([np.asarray(one) for one in opened]).transpose(0, 3, 1, 2).copy()

    return images
