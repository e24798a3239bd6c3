"""Logits to measure, and a softmax that shares nothing with torch."""

import math

import numpy as np
import torch


def random_logits(n: int, k: int, seed: int, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that favor the right class somewhat, so that neither accuracy nor calibration is extreme."""
    random = np.random.default_rng(seed)
    target = random.integers(k, size=n)
    logits = scale * random.normal(size=(n, k))
    logits[np.arange(n), target] += scale / 2
    return torch.tensor(logits, dtype=torch.float32), torch.tensor(target)


def softmax(row: np.ndarray) -> list[float]:
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def shares(logits: torch.Tensor) -> np.ndarray:
    return np.array([softmax(row) for row in logits.double().numpy()])
