"""Recipes whose networks start from weights of others: what depends on them, and where they show."""

import dataclasses
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from safetensors.torch import load_file
from timm.models import _registry

from persistill import models
from persistill.config import Arm, Data, Evaluate, Model, Recipe, Teacher, Train
from persistill.data import Splits
from persistill.errors import UserError
from persistill.losses import KD
from persistill.pipeline import Pipeline
from persistill.pipeline.network_stage import WEIGHTS
from persistill.run_folder import RunFolder

TINY = "timm/test_resnet"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Weights of a student of gray images of five classes."""
    torch.manual_seed(5)
    path = tmp_path / "w.safetensors"
    models.save(models.build("resnet-8", 1, 5), path, {"mean": [0.25], "std": [0.5], "view": "image"})
    return path


def recipe(**changes) -> Recipe:
    values = {
        "name": "test",
        "data": Data(source="digits", train=120, validation=20, test=60),
        "teachers": {"image": Teacher(model=Model(name="resnet-8"))},
        "student": Model(name="resnet-8"),
        "arms": {
            "alone": Arm(),
            "kd": Arm(methods=(KD(),), teachers=("image",)),
            "on": Arm(methods=(KD(),), teachers=("image",), start="alone"),
        },
        # A rate at which weights do not move.
        "train": Train(epochs=1, batch_size=25, lr=1e-12, weight_decay=0.0, schedule="constant"),
        "evaluate": Evaluate(noise=(), attacks=(), corruptions=()),
        "seeds": (0,),
    }
    return Recipe(**(values | changes))


def pipeline(given: Recipe, out: Path = Path("nowhere"), splits: Splits | None = None) -> Pipeline:
    return Pipeline(given, out, device="cpu", splits=splits)


def inputs(given: Recipe) -> dict[str, dict]:
    return {f"{stage.kind} {stage.name}": stage.inputs for stage in pipeline(given).stages()}


def test_without_initial_weights_nothing_depends_on_them() -> None:
    assert Model(name="resnet-8").to_json() == {"is": "Model", "name": "resnet-8"}
    assert Model(name="a", initial="b").to_json() == {"is": "Model", "name": "a", "initial": "b"}
    assert not any("initial" in one for one in inputs(recipe()).values())


def test_what_is_in_the_file_counts_and_not_its_name(file: Path) -> None:
    given = recipe(student=Model(name="resnet-8", initial=str(file)))
    before = inputs(given)
    assert [name for name, one in before.items() if "initial" in one] == ["student alone-seed0", "student kd-seed0"]
    assert before["student on-seed0"]["start"] == pipeline(given).graph.students["alone", 0].key
    other = file.rename(file.with_name("other.safetensors"))
    again = inputs(recipe(student=Model(name="resnet-8", initial=str(other))))
    assert {**again, "comparison test": None} == {**before, "comparison test": None}
    models.save(models.build("resnet-8", 1, 5), other, {"mean": [0.25], "std": [0.5], "view": "image"})
    changed = inputs(recipe(student=Model(name="resnet-8", initial=str(other))))
    for name in ("student alone-seed0", "student kd-seed0", "student on-seed0"):
        assert changed[name] != before[name]


def test_published_weights_count_by_their_exact_name() -> None:
    given = recipe(
        data=Data(source="digits", train=120, validation=20, test=60, size=(32, 32)),
        teachers={"image": Teacher(model=Model(name=TINY, initial="pretrained"))},
    )
    assert inputs(given)["teacher image"]["initial"] == "timm/test_resnet.r160_in1k"


def test_every_network_starts_from_its_weights(file: Path, tmp_path: Path) -> None:
    given = recipe(
        teachers={"image": Teacher(model=Model(name="resnet-8", initial=str(file)))},
        student=Model(name="resnet-8", initial=str(file)),
        seeds=(0, 1),
    )
    running = pipeline(given, tmp_path / "runs")
    running.run()
    theirs = load_file(file)
    heads = []
    for stage in (*running.graph.teachers.values(), *running.graph.students.values()):
        ours = load_file(tmp_path / "runs" / stage.folder_name / WEIGHTS)
        for name, tensor in theirs.items():
            if name.endswith("weight") and not name.startswith("classifier"):
                torch.testing.assert_close(ours[name], tensor)
        heads.append(ours["classifier.weight"])
    assert heads[0].shape[0] == 10
    image, alone0, alone1, kd0, _, on0, _ = heads
    torch.testing.assert_close(alone0, kd0)  # one seed, one classifier
    torch.testing.assert_close(alone0, on0)
    torch.testing.assert_close(alone0, image)
    assert not alone0.allclose(alone1)


def test_images_are_normalized_as_the_weights_know_them(file: Path) -> None:
    started = recipe(student=Model(name="resnet-8", initial=str(file)))
    splits = pipeline(recipe()).splits
    assert pipeline(started, splits=splits).normalization == ((0.25,), (0.5,))
    stated = started.with_value("data.mean", (0.1,)).with_value("data.std", (0.2,))
    assert pipeline(stated, splits=splits).normalization == ((0.1,), (0.2,))
    # Three means say nothing of gray images.
    color = recipe(teachers={"image": Teacher(model=Model(name=TINY, initial="pretrained"))})
    assert pipeline(color, splits=splits).normalization == pipeline(recipe(), splits=splits).normalization


def test_published_weights_are_read_by_their_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model("test_resnet")
    safetensors.torch.save_file(made.state_dict(), tmp_path / "w.safetensors")
    config = dataclasses.replace(_registry._model_pretrained_cfgs["test_resnet"], file=str(tmp_path / "w.safetensors"))
    monkeypatch.setitem(_registry._model_pretrained_cfgs, "test_resnet", config)
    given = recipe(
        data=Data(source="digits", train=120, validation=20, test=60, size=(32, 32)),
        arms={"alone": Arm()},
        teachers={},
        student=Model(name=TINY, initial="pretrained"),
    )
    running = pipeline(given, tmp_path / "runs")
    running.run()
    ours = load_file(tmp_path / "runs" / running.graph.students["alone", 0].folder_name / WEIGHTS)
    torch.testing.assert_close(ours["module.layer1.0.conv1.weight"], made.state_dict()["layer1.0.conv1.weight"])


@pytest.mark.parametrize(
    ("initial", "message"),
    [
        ("pretrained", "student: nobody publishes weights of 'resnet-8'"),
        ("nowhere.safetensors", "student: there is no file nowhere.safetensors to start 'resnet-8' from"),
        ("w.pth", "student: w.pth is a pickle by its name"),
    ],
)
def test_weights_that_are_not_there_are_told_with_all_else(initial: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pipeline(recipe(student=Model(name="resnet-8", initial=initial)))


def test_weights_that_do_not_fit_are_found_before_any_training(file: Path, tmp_path: Path) -> None:
    running = pipeline(recipe(student=Model(name="resnet-14", initial=str(file))), tmp_path / "runs")
    with pytest.raises(UserError, match="holds 'resnet-8', and 'resnet-14' is to start from it"):
        running.run()
    assert not (tmp_path / "runs").exists()


def test_a_teacher_is_trained_or_is_not() -> None:
    with pytest.raises(
        UserError, match=r"weights='a' are those of a teacher that is trained already.*'pretrained'.*one"
    ):
        Teacher(model=Model(name="resnet-8", initial="pretrained"), weights="a")


def test_runs_say_from_what_they_started(file: Path, tmp_path: Path) -> None:
    running = pipeline(recipe(arms={"alone": Arm()}, student=Model(name="resnet-8", initial=str(file))), tmp_path)
    running.run()
    folder = RunFolder.open(tmp_path / running.graph.students["alone", 0].folder_name)
    assert len(folder.inputs["initial"]) == 16
    assert folder.about["context"]["recipe"]["student"]["initial"] == str(file)
