"""From the splits of a recipe to what its networks are measured on."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from persistill.config import Evaluate
from persistill.data import ImageDataset, Loader, OpenView, Splits
from persistill.evaluation import EvaluationLoaders, Sample
from persistill.perturbations import Transform


def evaluation_loaders(
    splits: Splits,
    views: Mapping[str, OpenView],
    settings: Evaluate,
    normalization: tuple[tuple[float, ...], tuple[float, ...]],
    *,
    sample: Callable[[ImageDataset, int], Tensor],
    device: torch.device | str = "cpu",
    ood: ImageDataset | None = None,
) -> EvaluationLoaders:
    """What networks are measured on.

    Args:
        splits: of the recipe.
        views: what the network sees beside the images; empty for one that sees images.
        settings: size of the batches, and how many images are corrupted.
        normalization: channel means and standard deviations of the images.
        sample: chooses the images that are corrupted.
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

    rows = sample(splits.test, settings.corrupted)
    corruptible = splits.test.subset(rows)
    return EvaluationLoaders(
        test=lambda transform: loader(splits.test, "test", transform),
        validation=loader(splits.validation, "validation"),
        mean=mean,
        std=std,
        ood=None if ood is None else loader(ood, None),
        corruptible=Sample(rows, lambda transform: loader(corruptible, None, transform)),
    )
