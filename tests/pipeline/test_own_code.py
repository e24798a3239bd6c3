"""A recipe file that brings along all that it needs: no part of the package is edited."""

import json

import numpy as np
import pytest

from persistill.api import recipe_files
from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.pipeline.standalone import export_network
from persistill.run_folder import RunFolder
from persistill.utils.progress import Silent

RECIPE = '''
"""A recipe that brings along everything."""

import numpy as np
import torch

from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import ArrayRows, LandscapeView, Source, View
from persistill.losses import KD
from persistill.settings import Settings
from persistill.topology import PersistenceImageConfig, cubical_persistence, persistence_images


class Blobs(Settings):
    """One bright square, or two."""

    count: int = 60

    def __call__(self):
        random = np.random.default_rng(0)
        pixels = random.integers(0, 40, (self.count, 12, 12), dtype=np.uint8)
        target = np.arange(self.count) % 2
        pixels[:, 2:5, 2:5] = 220
        pixels[target == 1, 7:10, 7:10] = 220
        return Source(("one", "two"), {"train": ArrayRows(pixels, target, "blobs {}")})


class Holes(View):
    """Persistence images of the holes of an image."""

    side: int = 6

    def shape(self, image):
        return image[0], self.side, self.side

    def compute(self, images, fitted):
        (holes,) = cubical_persistence(images, dimensions=(1,))
        window = {"births": (0.0, 1.0), "persistences": (0.0, 1.0), "grid": "tiled", "bandwidth": 0.1}
        return persistence_images(holes, PersistenceImageConfig(pixels=(self.side, self.side), **window))


def darken(images, generator):
    """Half of the images lose half of their light."""
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(chosen, images // 2, images)


def solarize(images, severity):
    """Values above a threshold are inverted."""
    return torch.where(images > 1 - severity / 8, 1 - images, images)


def halving(settings, step, steps_per_epoch):
    """Half the rate after each epoch."""
    return settings.lr * 0.5 ** (step // steps_per_epoch)


def heavy_ball(parameters, lr):
    """SGD with much momentum."""
    return torch.optim.SGD(parameters, lr=lr, momentum=0.97)


recipe = Recipe(
    name="own",
    data=Data(source=Blobs(count=72), validation=8, test=16),
    views={
        "holes": Holes(),
        "landscapes": LandscapeView(levels=4, samples=8),
        "cubical": "cubical",
        "betti": "persistill.data.views.betti_curves:BettiCurveView",
    },
    teachers={
        name: Teacher(model=Model(name="resnet-8"), view=name) for name in ("holes", "landscapes", "cubical", "betti")
    },
    student=Model(name="resnet-8"),
    arms={
        "alone": Arm(),
        "kd": Arm(methods=(KD(),), teachers=("holes",)),
        "landscapes": Arm(methods=(KD(),), teachers=("landscapes",)),
    },
    train=Train(epochs=1, batch_size=16, lr=0.05, optimizer=heavy_ball, schedule=halving, augment=("flip", darken)),
    evaluate=Evaluate(noise=(), attacks=(), corruptions=(solarize, "contrast"), corruption_images=8),
    seeds=(0,),
)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    file = tmp_path_factory.mktemp("recipe") / "own.py"
    file.write_text(RECIPE, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def finished(own, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return Pipeline(recipe_files.read(str(own)), runs, device="cpu").run()


def folders(finished, kind):
    return {folder.name: folder for folder in map(RunFolder.open, finished.path.parent.glob(f"{kind}-*"))}


def test_a_recipe_brings_along_everything(finished):
    views = folders(finished, "view")
    assert {name: view.result()["shape"] for name, view in views.items()} == {
        "holes": [1, 6, 6],
        "landscapes": [2, 4, 8],
        "cubical": [2, 32, 32],
        "betti": [2, 16, 32],
    }
    assert views["holes"].result()["explanation"] == "Persistence images of the holes of an image."
    assert np.load(views["holes"].file("train.npy")).max() == 255
    (student,) = [run for name, run in folders(finished, "student").items() if name.startswith("kd")]
    assert student.inputs["train"]["optimizer"] == {"is": "heavy_ball"}
    assert student.inputs["train"]["schedule"] == {"is": "halving"}
    assert student.inputs["train"]["augment"] == ["flip", {"is": "darken"}]
    for evaluation in folders(finished, "evaluation").values():
        corrupted = evaluation.result()["metrics"]["corruptions"]
        if corrupted:
            assert set(corrupted["accuracy"]) == {"solarize", "contrast"}
    page = finished.file("report.html").read_text(encoding="utf-8")
    for words in ("solarize*", "Persistence images of the holes of an image.", "Betti curves", "landscapes"):
        assert words in page
    json.dumps(finished.about)


def test_keys_follow_what_is_named_and_its_settings(own, tmp_path):
    def keys(changes=None):
        stages = Pipeline(recipe_files.read(str(own), changes), tmp_path, device="cpu").stages()
        return {f"{stage.kind} {stage.name}": stage.key for stage in stages}

    before = keys()
    assert keys() == before
    other = keys({"views.holes.side": 7})
    assert {name for name in before if before[name] != other[name]} >= {
        "view holes",
        "teacher holes",
        "student kd-seed0",
    }
    assert other["student alone-seed0"] == before["student alone-seed0"]
    assert keys({"train.schedule": "cosine"})["student alone-seed0"] != before["student alone-seed0"]
    assert keys({"train.optimizer": "torch.optim:RMSprop"})["student alone-seed0"] != before["student alone-seed0"]


def test_all_that_is_not_there_is_told_at_once(own, tmp_path):
    changes = {
        "views.cubical": "cubic",
        "train.optimizer": "sgdd",
        "train.schedule": "cosin",
        "evaluate.corruptions": ("contrst",),
    }
    with pytest.raises(UserError) as told:
        Pipeline(recipe_files.read(str(own), changes), tmp_path, device="cpu")
    for words in ("views.cubical: unknown view", "train.optimizer: unknown", "train.schedule: unknown", "'contrst'"):
        assert words in str(told.value)


def test_code_that_a_run_folder_names_is_not_run(finished, tmp_path):
    student = next(iter(folders(finished, "student").values()))
    with pytest.raises(UserError, match="come from the code Blobs, and code that a run folder names is not run"):
        export_network(student.path, tmp_path / "out", Silent())
