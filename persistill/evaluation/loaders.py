"""What a network is measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from persistill.config import Evaluate
from persistill.data import ImageDataset, Loader, OpenView, Splits, stratified
from persistill.perturbations.gaussian_noise import Transform
from persistill.structures import Batches


@dataclass(frozen=True)
class Sample:
    """Some of the test images, every class with its share.

    Attributes:
        rows: (n,) int64, their positions among the test images, ascending.
        loader: makes their loader, in this order, with a transform as that of ``EvaluationLoaders.test``.
    """

    rows: Tensor
    loader: Callable[[Transform], Batches]


@dataclass(frozen=True)
class EvaluationLoaders:
    """Loaders, all in a fixed order, and the normalization that they apply.

    Attributes:
        test: makes the loader of the test images; given a transform, one whose images go through it before they
            are normalized.
        validation: loader of images that may be chosen with: the temperature is fitted on them.
        mean: channel means, of images in [0, 1].
        std: channel standard deviations, likewise.
        ood: loader of images of other things; None to measure no detection of them.
        corruptible: test images that are corrupted; None to measure no robustness against that.
    """

    test: Callable[[Transform | None], Batches]
    validation: Batches
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ood: Batches | None = None
    corruptible: Sample | None = None

    @classmethod
    def of(
        cls,
        splits: Splits,
        views: Mapping[str, OpenView],
        settings: Evaluate,
        normalization: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        device: torch.device | str = "cpu",
        ood: ImageDataset | None = None,
    ) -> Self:
        """The material that a recipe's splits give.

        Args:
            splits: of the recipe.
            views: what the network sees beside the images; empty for one that sees images.
            settings: size of the batches, and how many images are corrupted.
            normalization: channel means and standard deviations of the images.
            device: where batches are put.
            ood: images of other things, of the same shape.
        """
        mean, std = normalization

        def loader(images: ImageDataset, split: str | None, transform: Transform | None = None) -> Loader:
            return Loader(
                images,
                {name: view.split(split) for name, view in views.items()} if split else {},
                batch_size=settings.batch_size,
                mean=mean,
                std=std,
                shuffle_seed=None,
                device=device,
                transform=transform,
            )

        targets = splits.test.targets.cpu().numpy()
        count = min(settings.corruption_images, len(targets))
        rows = torch.from_numpy(stratified(targets, count, np.random.default_rng(0)))
        corruptible = splits.test.subset(rows)
        return cls(
            test=lambda transform: loader(splits.test, "test", transform),
            validation=loader(splits.validation, "validation"),
            mean=mean,
            std=std,
            ood=None if ood is None else loader(ood, None),
            corruptible=Sample(rows, lambda transform: loader(corruptible, None, transform)),
        )

    def normalized(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] as a network sees them."""
        mean, std = self._statistics(images)
        return (images - mean) / std

    def plain(self, normalized: Tensor) -> Tensor:
        """Images in [0, 1] from what a network sees, rounding apart."""
        mean, std = self._statistics(normalized)
        return (normalized * std + mean).clamp(0, 1)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, dtype=like.dtype, device=like.device) for values in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]
