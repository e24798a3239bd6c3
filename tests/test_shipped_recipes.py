"""Every shipped recipe takes a few real steps, from images to the report, on images made here."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision
from PIL import Image

from persistill.api import recipe_files
from persistill.config import Data, Model, Recipe
from persistill.pipeline import Pipeline

SHIPPED = recipe_files.shipped()
EACH = 6  # training images a class


def images(folder: Path, classes: int, label: str) -> str:
    """A folder of Parquet files in the layout of CIFAR: 32x32 color images, a stripe of its own for every class."""
    random = np.random.default_rng(classes)
    for split, each in (("train", EACH), ("test", 1)):
        target = np.repeat(np.arange(classes), each)
        pixels = random.integers(0, 80, (len(target), 32, 32, 3), dtype=np.uint8)
        pixels[np.arange(len(target)), target % 32] += 150
        images = []
        for one in pixels:
            file = io.BytesIO()
            Image.fromarray(one).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": None})
        columns = {"img": images, label: target}
        if label != "label":  # CIFAR-100 has two
            columns["coarse_label"] = target // 2
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    return str(folder)


def tiny(recipe: Recipe, folder: Path, write_scenes: Callable[..., str], write_squares: Callable[..., str]) -> Recipe:
    """The recipe with its networks and methods, at a size that takes two or three steps a network."""
    if recipe.task == "segmentation":
        return tiny_segmentation(recipe, write_scenes(folder / "scenes", count=24))
    if recipe.task == "detection":
        return tiny_detection(recipe, write_squares(folder / recipe.name, count=24))
    classes = 100 if "cifar100" in recipe.data.source else 10
    if recipe.data.source != "digits":
        recipe = recipe.with_value("data.source", images(folder, classes, recipe.data.label or "label"))
        recipe = recipe.with_value("data.mean", None).with_value("data.std", None).with_value("data.size", (16, 16))
    changes = {
        "data.train": 4 * classes,
        "data.validation": classes,
        "data.test": classes,
        "train.epochs": 1,
        "train.batch_size": classes,
        "train.channels_last": False,
        "seeds": (0,),
        "evaluate.corruptions": (),
        "evaluate.attacks": (),
    }
    for name, arm in recipe.arms.items():
        if arm.train is not None:
            changes[f"arms.{name}.train"] = None
        for position, method in enumerate(arm.methods):
            if getattr(method, "surrogate", None) is not None:
                surrogate = f"arms.{name}.methods.{position}.surrogate"
                changes |= {f"{surrogate}.cloud_epochs": 3, f"{surrogate}.epochs": 2}
    for name, teacher in recipe.teachers.items():
        if teacher.train is not None:
            changes[f"teachers.{name}.train"] = None
    for path, value in changes.items():
        recipe = recipe.with_value(path, value)
    return recipe


def tiny_segmentation(recipe: Recipe, source: str) -> Recipe:
    """Likewise, of masks."""
    quick = recipe.train.model_copy(update={"epochs": 1, "batch_size": 6, "crop_size": (20, 28), "warmup_epochs": 0.0})
    changes = {
        "data": Data(source=source, validation=6, test=6),
        "train": quick,
        "seeds": (0,),
        "evaluate.corruptions": (),
        **{f"teachers.{name}.train": None for name in recipe.teachers},
    }
    for path, value in changes.items():
        recipe = recipe.with_value(path, value)
    return recipe


def tiny_detection(recipe: Recipe, source: str) -> Recipe:
    """Likewise, of boxes; heads are those of the recipe, on smaller encoders where its own are large."""
    quick = {"epochs": 1, "batch_size": 6, "warmup_epochs": 0.0, "schedule": "constant"}
    changes = {
        "data": Data(source=source, size=(48, 48), validation=6, test=6),
        "train": recipe.train.model_copy(update=quick),
        "seeds": (0,),
        "evaluate.corruptions": (),
        "formats": ("nms",),
        **{f"teachers.{name}.train": None for name in recipe.teachers},
    }
    networks = {f"teachers.{name}.model": teacher.model for name, teacher in recipe.teachers.items()}
    for path, model in {"student": recipe.student, **networks}.items():
        head, _, encoder = model.name.partition(":")
        changes[path] = Model(name=f"{head}:resnet-8" if encoder.startswith("torchvision/") else model.name)
    for path, value in changes.items():
        recipe = recipe.with_value(path, value)
    return recipe


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_takes_a_few_steps(
    name: str, tmp_path: Path, write_scenes: Callable[..., str], write_squares: Callable[..., str]
) -> None:
    first, *others = recipe_files.defined(SHIPPED[name]).values()
    for recipe in (first, *others):
        if recipe.small:
            assert recipe.smaller().name.endswith("_small")
    (tmp_path / "images").mkdir()
    folder = Pipeline(
        tiny(first, tmp_path / "images", write_scenes, write_squares), tmp_path / "runs", device="cpu", command="test"
    ).run()
    assert folder.file("report.html").is_file()
    rows = folder.result()["rows"]
    assert [row["arm"] for row in rows] == list(first.arms)
    for other in others:
        Pipeline(tiny(other, tmp_path / "images", write_scenes, write_squares), tmp_path / "none", device="cpu").probe()
    assert not (tmp_path / "none").exists()


def test_the_table_of_baselines_is_whole_and_agrees_with_itself() -> None:
    pairs = recipe_files.defined(SHIPPED["baselines_cifar100"])
    assert len(pairs) == 13
    taught: dict[str, set[float]] = {}
    for recipe in pairs.values():
        (published,) = recipe.published
        assert {"image", "alone", "kd", "fitnet", "at", "sp", "cc", "vid", "rkd", "pkt", "crd"} <= set(
            published.figures
        )
        for network, name in ((recipe.teachers["image"].model.name, "image"), (recipe.student.name, "alone")):
            taught.setdefault(f"{name} {network}", set()).add(published.figures[name])
    # A network that stands in several columns has one accuracy by itself.
    assert {name: len(accuracies) for name, accuracies in taught.items() if len(accuracies) > 1} == {}


def test_the_pairs_of_detectors_are_on_encoders_that_are_there() -> None:
    pairs = recipe_files.defined(SHIPPED["detection_coco"])
    for recipe in pairs.values():
        (published,) = recipe.published
        assert set(published.figures) <= {*recipe.arms, *recipe.teachers}
        for model in (recipe.student, *(teacher.model for teacher in recipe.teachers.values())):
            assert model.initial == "pretrained"
            assert model.name.rpartition("/")[2] in torchvision.models.list_models(torchvision.models)
