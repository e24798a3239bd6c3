"""The images of a recipe, and batches of them."""

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from persistill import evaluation, models
from persistill.config import Evaluate, Recipe, Train
from persistill.data import (
    IMAGE,
    ImageDataset,
    Loader,
    OpenView,
    Splits,
    View,
    keep_resized,
    measure_normalization,
    with_image,
)
from persistill.errors import UserError
from persistill.structures import Batch
from persistill.tasks import TASKS, ood_images
from persistill.utils.progress import Progress
from persistill.utils.units import counted

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Means and standard deviations, one each a channel, of values in [0, 1]."""


class DataModule:
    """The images of one recipe. They are read when they are first asked for.

    Args:
        recipe: says which, and what networks see of them.
        device: where batches are put.
        progress: told of reading.
        splits: the recipe's images, if they were read already or others shall stand in for them.

    Attributes:
        device: where batches are put.
    """

    def __init__(self, recipe: Recipe, device: torch.device, progress: Progress, splits: Splits | None = None) -> None:
        self._recipe, self._progress = recipe, progress
        self._given = splits
        self.device = device

    def on(self, device: torch.device) -> "DataModule":
        """The same images, with batches on another device."""
        found = copy.copy(self)
        found.device, found.splits = device, self.splits.to(device)
        return found

    @cached_property
    def splits(self) -> Splits:
        """The images, on the device where they are small."""
        found = self._given
        if found is None:
            found = TASKS.find(self._recipe.task).load(self._recipe.data, self._progress)
        return found.to(self.device)

    def keep_resized(self, out: Path) -> None:
        """Have images that are streamed read from a cache of decoded ones, where the recipe asks for it.

        Args:
            out: where the run folders lie; the cache lies beside them.

        Raises:
            UserError: if an image cannot be decoded, or the disk has too little room.
        """
        if self._recipe.data.cache == "resized":
            self.splits = keep_resized(self.splits, out, self._progress)

    @property
    def measures_normalization(self) -> bool:
        """Whether means and standard deviations are measured on all training images, as nothing states them."""
        return stated_normalization(self._recipe, self.splits.train.shape[0]) is None

    @cached_property
    def normalization(self) -> Normalization:
        """Channel means and standard deviations of the images: stated by the recipe or measured on training data."""
        train = self.splits.train
        return stated_normalization(self._recipe, train.shape[0]) or measure_normalization(train)

    @cached_property
    def evaluate(self) -> Evaluate:
        """What is measured of networks, on how many images."""
        settings = self._recipe.evaluation(len(self.splits.train))
        return TASKS.find(self._recipe.task).fitting(settings, self.splits.train.shape)

    @cached_property
    def ood(self) -> ImageDataset | None:
        """Images of other things, where the recipe names a source of them."""
        return ood_images(self._recipe.evaluate, self.splits.test, self._progress)

    @cached_property
    def views(self) -> dict[str, View]:
        """What networks may see, by name."""
        return with_image(self._recipe.views)

    def view_shape(self, view: str) -> tuple[int, int, int]:
        """(C, H, W) of what a view shows."""
        return self.views[view].shape(self.splits.train.shape)

    def loader(
        self,
        split: str,
        views: Mapping[str, OpenView],
        *,
        augment: Sequence[Any] = (),
        **options: Any,
    ) -> Loader:
        """Batches of a split: its images, and the given views of them.

        Where images are augmented, views are computed from what came of them.
        """
        mean, std = self.normalization
        names = sorted(views)
        return Loader(
            getattr(self.splits, split),
            {} if augment else {name: views[name].split(split) for name in names},
            online={name: views[name].online(self.views[name]) for name in names} if augment else {},
            mean=mean,
            std=std,
            augment=augment,
            device=self.device,
            **options,
        )

    def training_loader(
        self, settings: Train, seed: int, views: Mapping[str, OpenView], share: tuple[int, int] = (0, 1)
    ) -> Loader:
        """Batches to train on: shuffled from a seed, augmented as the settings say, whole ones only.

        Args:
            settings: of the training.
            seed: of order and augmentation.
            views: beside the images.
            share: rank and number of ranks, if they share every batch.
        """
        return self.loader(
            "train",
            views,
            batch_size=settings.batch_size,
            shuffle_seed=seed,
            augment=TASKS.find(self._recipe.task).augmentation(settings.augment),
            crop_padding=settings.crop_padding,
            crop_size=settings.crop_size,
            drop_last=True,
            share=share,
        )

    def evaluation_loaders(self, views: Mapping[str, OpenView]) -> evaluation.EvaluationLoaders:
        """What a network that sees these views, or the images where there are none, is measured on."""
        return TASKS.find(self._recipe.task).evaluation_loaders(
            self.splits,
            views,
            self.evaluate,
            self.normalization,
            device=self.device,
            ood=self.ood,
        )

    def example(self) -> Batch:
        """Two random images in all views."""
        generator = torch.Generator().manual_seed(0)
        views = {IMAGE, *(teacher.view for teacher in self._recipe.teachers.values())}
        return Batch(
            {
                view: torch.rand(2, *self.view_shape(view), generator=generator).to(self.device)
                for view in sorted(views)
            },
            self.splits.train.fetch_targets(torch.arange(2)).to(self.device),
            torch.arange(2, device=self.device),
        )


def stated_normalization(recipe: Recipe, channels: int) -> Normalization | None:
    """Channel means and standard deviations of the images, as far as they need not be measured.

    Those that the recipe states; or those that go with the weights from which networks start, the first teacher of
    images before the student. A network gets over another normalization, but there is no reason to make it.

    Args:
        recipe: states them or not.
        channels: of the images.

    Returns:
        None if they are to be measured on the training images.

    Raises:
        UserError: if the recipe states one alone, or not one value a channel.
    """
    data = recipe.data
    if data.mean is not None or data.std is not None:
        if data.mean is None or data.std is None or not len(data.mean) == len(data.std) == channels:
            raise UserError(
                f"data.mean and data.std go together, with one value for each of {counted(channels, 'channel')}; "
                f"{data.mean} and {data.std} were given."
            )
        return data.mean, data.std
    # Views that the recipe names are normalized by what is measured on them.
    of_images = [teacher.model for teacher in recipe.teachers.values() if teacher.view not in recipe.views]
    for model in (*of_images, recipe.student):
        found = None if model.initial is None else models.initial_normalization(model.name, model.initial)
        if found is not None and len(found[0]) == channels:
            return found[:2]
    return None
