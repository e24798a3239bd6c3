"""A network and loaders small enough to be checked by hand."""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from persistill.evaluation import EvaluationLoaders
from persistill.structures import Batch, ModelOutput


class Tiny(nn.Module):
    """Convolution, batch norm, dropout, linear: everything whose state or mode an evaluation could spoil."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> ModelOutput:
        maps = self.norm(self.conv(x)).relu()
        embedding = self.drop(maps.mean((2, 3)))
        return ModelOutput(self.head(embedding), embedding, {"stage": maps})


class ImageDataset:
    """A loader over images in memory: the protocol, and the order of calls to the transform."""

    def __init__(
        self,
        pixels: Tensor,
        target: Tensor,
        *,
        batch_size: int = 8,
        transform: Callable[[Tensor, int], Tensor] | None = None,
        view: str = "image",
    ) -> None:
        self.pixels, self.target, self.batch_size = pixels, target, batch_size
        self.transform, self.view = transform, view

    def __len__(self) -> int:
        return math.ceil(len(self.target) / self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        assert (number, start) == (0, 0)
        for i in range(len(self)):
            part = slice(i * self.batch_size, (i + 1) * self.batch_size)
            x = self.pixels[part]
            if self.transform is not None:
                x = self.transform(x, i)
            index = torch.arange(len(self.target))[part]
            yield Batch({self.view: (x - 0.5) / 0.25}, self.target[part], index)


class Recorder:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.stages, self.units, self.finished = [], 0, 0

    def start(self, stage, total, done=0) -> None:
        self.stages.append((stage, total, done))

    def advance(self, units, *_) -> None:
        self.units += units

    def finish(self, *_) -> None:
        self.finished += 1


@pytest.fixture
def tiny(pixels: Tensor) -> Tiny:
    torch.manual_seed(3)
    network = Tiny()
    # A forward pass in training mode gives the batch norm statistics that are not its initial ones.
    network((pixels - 0.5) / 0.25)
    # Untrained, it would answer all images alike: centered logits make it use all classes.
    with torch.no_grad():
        network.head.bias -= network.eval()((pixels - 0.5) / 0.25).logits.mean(0)
        network.head.weight *= 20
        network.head.bias *= 20
    return network.train()


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(21, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def target() -> Tensor:
    return torch.randint(4, (21,), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def loader(pixels: Tensor, target: Tensor) -> Callable[..., ImageDataset]:
    """Makes a loader over the images, with the options of ``ImageDataset``."""
    return lambda **options: ImageDataset(pixels, target, **options)


@pytest.fixture
def material(loader) -> Callable[..., EvaluationLoaders]:
    """Makes material of the images, the last nine being those of validation; options are those of ``ImageDataset``."""

    def make(ood: ImageDataset | None = None, **options) -> EvaluationLoaders:
        held_out = loader(**options)
        held_out.pixels, held_out.target = held_out.pixels[-9:], held_out.target[-9:]
        mean, std = (0.5,) * 3, (0.25,) * 3
        return EvaluationLoaders(lambda transform: loader(transform=transform, **options), held_out, mean, std, ood)

    return make


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
