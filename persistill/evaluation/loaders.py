"""What a network is measured on."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from persistill.perturbations.gaussian_noise import Transform
from persistill.ranks import Ranks
from persistill.structures import Batches


@dataclass(frozen=True)
class Sample:
    """Some of the test images.

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
        ranks: among which the evaluation is shared out.
    """

    test: Callable[[Transform | None], Batches]
    validation: Batches
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ood: Batches | None = None
    corruptible: Sample | None = None
    ranks: Ranks = field(default_factory=Ranks)

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
