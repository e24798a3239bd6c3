"""What a network is measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from persistill.config import Evaluate
from persistill.data import Loader, OpenView, Pictures, Splits, stratified
from persistill.perturbations.gaussian_noise import Transform
from persistill.structures import Batches


@dataclass(frozen=True)
class Sample:
    """Some of the test pictures, every class with its share.

    Attributes:
        rows: (n,) int64, their positions among the test pictures, ascending.
        loader: makes their loader, in this order, with a transform as that of ``Material.test``.
    """

    rows: Tensor
    loader: Callable[[Transform], Batches]


@dataclass(frozen=True)
class Material:
    """Loaders, all in a fixed order, and the normalisation that they apply.

    Attributes:
        test: makes the loader of the test pictures; given a transform, one whose pictures go through it before they
            are normalised.
        validation: loader of pictures that may be chosen with: the temperature is fitted on them.
        mean: channel means, of pictures in [0, 1].
        std: channel standard deviations, likewise.
        ood: loader of pictures of other things; None to measure no detection of them.
        corruptible: test pictures that are corrupted; None to measure no robustness against that.
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
        normalisation: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        device: torch.device | str = "cpu",
        ood: Pictures | None = None,
    ) -> Self:
        """The material that a recipe's splits give.

        Args:
            splits: of the recipe.
            views: what the network sees beside the pictures; empty for one that sees pictures.
            settings: size of the batches, and how many pictures are corrupted.
            normalisation: channel means and standard deviations of the pictures.
            device: where batches are put.
            ood: pictures of other things, of the same shape.
        """
        mean, std = normalisation

        def loader(pictures: Pictures, split: str | None, transform: Transform | None = None) -> Loader:
            return Loader(
                pictures,
                {name: view.split(split) for name, view in views.items()} if split else {},
                batch_size=settings.batch_size,
                mean=mean,
                std=std,
                shuffle_seed=None,
                device=device,
                transform=transform,
            )

        targets = splits.test.targets.cpu().numpy()
        count = min(settings.corruption_pictures, len(targets))
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

    def normalised(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [0, 1] as a network sees them."""
        mean, std = self._statistics(pictures)
        return (pictures - mean) / std

    def plain(self, normalised: Tensor) -> Tensor:
        """Pictures in [0, 1] from what a network sees, rounding apart."""
        mean, std = self._statistics(normalised)
        return (normalised * std + mean).clamp(0, 1)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, dtype=like.dtype, device=like.device) for values in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]
