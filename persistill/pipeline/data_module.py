"""The images of a recipe, what teachers see beside them, and the batches of both: what every stage is worked with."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from persistill import evaluation
from persistill.config import Recipe, Train
from persistill.data import (
    VIEWS,
    ImageDataset,
    Loader,
    OpenView,
    Splits,
    View,
    load,
    make_view,
    measure_normalization,
    open_view,
)
from persistill.pipeline.stage import Stage
from persistill.pipeline.validate import normalization_of_recipe
from persistill.run_folder import RunFolder
from persistill.structures import Batch
from persistill.utils.progress import Progress


class DataModule:
    """The images of one recipe. They are read when they are first asked for.

    Args:
        recipe: says which, and what teachers see of them.
        out: where the run folders lie.
        device: where batches are put.
        progress: told of everything that takes time.

    Attributes:
        device: where batches are put.
    """

    def __init__(self, recipe: Recipe, out: Path, device: torch.device, progress: Progress) -> None:
        self._recipe, self._out, self._progress = recipe, out, progress
        self.device = device

    @cached_property
    def splits(self) -> Splits:
        """The images, on the device where they are small."""
        return load(self._recipe.data, self._progress).to(self.device)

    @cached_property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Channel means and standard deviations of the images: stated by the recipe or measured on training data."""
        train = self.splits.train
        return normalization_of_recipe(self._recipe, train.shape[0]) or measure_normalization(train)

    @cached_property
    def ood(self) -> ImageDataset | None:
        """Images of other things, where the recipe names a source of them."""
        return evaluation.ood_images(self._recipe.evaluate, self.splits.test, self._progress)

    @cached_property
    def views(self) -> dict[str, Stage]:
        """View name -> stage. It depends on the images and on nothing else that is made here."""
        return {
            name: Stage(
                "view",
                name,
                {"data": self.splits.fingerprint, "view": view.to_json()},
                partial(self._make_view, view),
            )
            for name in self._recipe.views
            for view in (self._view(name),)
        }

    def view_shape(self, view: str) -> tuple[int, int, int]:
        """(C, H, W) of what a view shows."""
        image = self.splits.train.shape
        return image if view == "image" else self._view(view).shape(image)

    def look(self, rows: Tensor) -> dict[str, Tensor]:
        """Test images, (n, C, H, W) uint8, and what the teachers' views show of them, floats in [0, 1], by name."""
        views = {teacher.view for teacher in self._recipe.teachers.values()} - {"image"}
        seen = {name: self.open_view(name).fetch("test", rows) for name in sorted(views)}
        return {"image": self.splits.test.fetch(rows), **seen}

    def loader(
        self, split: str, views: set[str], *, augment: Sequence[Literal["crop", "flip"]] = (), **options: Any
    ) -> Loader:
        """Batches of a split. Where images are augmented, views are computed from what came of them."""
        mean, std = self.normalization
        stored, online = {}, {}
        for name in sorted(views - {"image"}):
            opened = self.open_view(name)
            if augment:
                online[name] = opened.online(self._view(name))
            else:
                stored[name] = opened.split(split)
        return Loader(
            getattr(self.splits, split),
            stored,
            online=online,
            mean=mean,
            std=std,
            augment=augment,
            device=self.device,
            **options,
        )

    def _view(self, name: str) -> View:
        return VIEWS.find(self._recipe.views[name])

    def _make_view(self, view: View, folder: RunFolder) -> dict[str, Any]:
        return make_view(view, self.splits, folder.path, self._progress)

    def open_view(self, name: str) -> OpenView:
        """What was stored of a view; its stage must be complete."""
        folder = RunFolder.open(self._out / self.views[name].folder_name)
        return open_view(folder.path, folder.result(), self.splits)

    def training_loader(self, settings: Train, seed: int, views: set[str]) -> Loader:
        """Batches to train on: shuffled from a seed, augmented as the settings say, whole ones only."""
        return self.loader(
            "train",
            views,
            batch_size=settings.batch_size,
            shuffle_seed=seed,
            augment=settings.augment,
            crop_padding=settings.crop_padding,
            crop_size=settings.crop_size,
            drop_last=True,
        )

    def material(self, view: str) -> evaluation.EvaluationLoaders:
        """What a network that sees this view is measured on."""
        settings = self._recipe.evaluate
        opened = {view: self.open_view(view)} if view != "image" else {}
        return evaluation.EvaluationLoaders.of(
            self.splits, opened, settings, self.normalization, device=self.device, ood=self.ood
        )

    def example(self) -> Batch:
        """Two random images in all views."""
        generator = torch.Generator().manual_seed(0)
        views = {"image", *(teacher.view for teacher in self._recipe.teachers.values())}
        return Batch(
            {
                view: torch.rand(2, *self.view_shape(view), generator=generator).to(self.device)
                for view in sorted(views)
            },
            self.splits.train.targets[:2].to(self.device),
            torch.arange(2, device=self.device),
        )
