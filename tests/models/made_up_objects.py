"""Objects for tests of detection."""

import torch

from persistill.structures import Objects


def objects(boxes, labels, difficult=(), crowd=()):
    """Objects; ``difficult`` and ``crowd`` are positions of those that are."""
    flags = torch.zeros(2, len(labels), dtype=torch.bool)
    flags[0, list(difficult)] = True
    flags[1, list(crowd)] = True
    return Objects(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), *flags)


def some_objects(height, width, count=3, classes=4, seed=0):
    """Objects drawn in an image of this size."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height]).float()
    corner = torch.rand(count, 2, generator=generator) * size * 0.6
    extent = 4 + torch.rand(count, 2, generator=generator) * (size * 0.4 - 4).clamp(min=1)
    labels = torch.randint(classes, (count,), generator=generator)
    return objects(torch.cat([corner, corner + extent], 1).tolist(), labels.tolist())
