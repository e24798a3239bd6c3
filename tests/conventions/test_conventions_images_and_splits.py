"""The sentences under "Images and splits" in docs/conventions.md: each test holds that of its name."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from persistill.config import Data
from persistill.data import (
    FittedPersistenceView,
    InMemoryDataset,
    Loader,
    PersistenceView,
    load,
    make_view,
    measure_normalization,
    open_view,
)
from persistill.pipeline import Pipeline


def test_images_and_normalization(splits):
    pixels = splits.train.fetch(torch.arange(7))
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (7, 1, 8, 8))
    seen = []

    def look(images, number):
        seen.append(images.clone())
        return images

    loader = Loader(splits.train, {}, batch_size=7, mean=(0.3,), std=(0.2,), shuffle_seed=None, transform=look)
    image = next(loader.epoch(0)).inputs["image"]
    assert seen[0].dtype == torch.float32
    expected = pixels.numpy().astype(np.float64) / 255
    assert seen[0].numpy() == pytest.approx(expected, abs=1e-6)
    assert image.numpy() == pytest.approx((expected - 0.3) / 0.2, abs=1e-5)


def test_statistics_of_training_images(splits, recipe):
    pixels = splits.train.fetch(torch.arange(len(splits.train))).numpy() / 255
    mean, std = measure_normalization(splits.train)
    assert mean == pytest.approx([pixels.mean()], rel=1e-9)
    assert std == pytest.approx([pixels.std(ddof=0)], rel=1e-9)
    assert Pipeline(recipe, Path(), device="cpu").normalization == (mean, std)


def test_splits_are_balanced(splits):
    parts = [splits.train, splits.validation, splits.test]
    # ``train`` counts the training images before validation is taken from them.
    assert [len(part) for part in parts] == [80, 40, 50]
    for part in parts:
        counts = np.bincount(part.targets.numpy(), minlength=10)
        assert counts.max() - counts.min() <= 2
    everything = load(Data(source="digits", validation=0.25))
    images = torch.cat(
        [part.fetch(torch.arange(len(part))) for part in (everything.train, everything.validation, everything.test)]
    )
    # Some digits of the data set are equal to the pixel, so multisets are compared.
    source = load_digits().images.reshape(1797, -1)
    assert len(images) == 1797
    order = np.lexsort(source.T)
    found = images.reshape(1797, -1).numpy() / (255 / 16)
    assert np.abs(found[np.lexsort(found.round().T)].round() - source[order]).max() == 0


def test_test_images_stay(splits, digits):
    fewer = load(digits.with_value("train", 60).with_value("validation", 20))
    other = load(digits.with_value("split_seed", 1))
    images = [part.test.fetch(torch.arange(50)) for part in (splits, fewer, other)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_fitted_on_training_images(splits, tmp_path):
    odd = InMemoryDataset(255 - splits.test.fetch(torch.arange(50)), splits.test.targets)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    view = FittedPersistenceView(pixels=(8, 8))
    first = make_view(view, splits, tmp_path / "a")
    second = make_view(view, dataclasses.replace(splits, test=odd, validation=odd), tmp_path / "b")
    for name in ("settings", "mean", "std", "fitted"):
        assert first[name] == second[name]
    assert first["settings"]["bandwidth"] != PersistenceView().bandwidth
    train = [np.load(tmp_path / folder / "train.npy") for folder in ("a", "b")]
    test = [np.load(tmp_path / folder / "test.npy") for folder in ("a", "b")]
    assert np.array_equal(*train)
    assert not np.array_equal(*test)


def test_augmentation_reaches_views(splits, tmp_path):
    """Cropped images as a data set of their own have the stored view that the training loop draws."""
    view = PersistenceView(pixels=(8, 8))
    (tmp_path / "whole").mkdir()
    opened = open_view(tmp_path / "whole", make_view(view, splits, tmp_path / "whole"), splits)
    options = {"batch_size": 80, "mean": (0.0,), "std": (1.0,), "shuffle_seed": 0, "augment": ("crop",)}
    batch = next(Loader(splits.train, {}, online={"persistence": opened.online(view)}, **options).epoch(0))
    cropped = InMemoryDataset((batch.inputs["image"] * 255).round().to(torch.uint8), batch.target)
    assert not torch.equal(cropped.fetch(torch.arange(80)), splits.train.fetch(batch.index))
    (tmp_path / "cropped").mkdir()
    make_view(view, dataclasses.replace(splits, train=cropped), tmp_path / "cropped")
    stored = torch.from_numpy(np.load(tmp_path / "cropped" / "train.npy")) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (opened.mean, opened.std))
    torch.testing.assert_close(batch.inputs["persistence"], (stored - mean) / std)
