"""A small, real training: separable images, a tiny network, batches that depend on (epoch, step) alone."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from persistill.structures import Batch, FeatureMapSpec, FeatureSpec, ModelOutput


class TinyNet(nn.Module):
    def __init__(self, in_channels: int = 1, classes: int = 3, width: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)  # draws from torch's random state, which a checkpoint must bring back
        self.head = nn.Linear(width, classes)
        self.spec = FeatureSpec(in_channels, classes, width, {"stage1": FeatureMapSpec(width, 1)})

    def forward(self, images: Tensor) -> ModelOutput:
        maps = self.norm(self.conv(images))
        embedding = self.dropout(maps.relu().mean((2, 3)))
        return ModelOutput(self.head(embedding), embedding, {"stage1": maps})


class SyntheticBatches:
    """Images whose mean tells their class."""

    def __init__(self, batches: int = 6, size: int = 8, seed: int = 0) -> None:
        self.batches, self.size, self.seed = batches, size, seed
        self.served: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.batches):
            self.served.append((number, step))
            generator = torch.Generator().manual_seed(self.seed * 1_000_000 + number * 1000 + step)
            target = torch.randint(3, (self.size,), generator=generator)
            images = torch.randn(self.size, 1, 6, 6, generator=generator) * 0.3 + target.view(-1, 1, 1, 1).float()
            yield Batch({"image": images, "persistence": images.flip(3)}, target, torch.arange(self.size))
