"""Prints hashes of what kernels give whose sums may be taken in any order: to be run with and without kept kernels."""

import hashlib

import numpy as np
import torch

from persistill.topology import point_persistence_images, rips_persistence


def digest(values: torch.Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:12]


random = np.random.default_rng(0)
for points, width in ((20, 8), (50, 13)):
    clouds = torch.from_numpy(random.normal(size=(2, points, width)).astype(np.float32))
    diagrams = rips_persistence(clouds, dimension=0)
    images = point_persistence_images(
        diagrams, pixels=(20, 20), bandwidth=0.03, births=(0.0, 0.1), persistences=(0.1, 6.0), weight="topkd"
    )
    print(digest(diagrams.values), digest(images))  # noqa: T201
