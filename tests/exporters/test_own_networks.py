"""A student of somebody's own code is delivered, measured and asked like any other, once its name is said."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from persistill.cli import main
from persistill.config import Data
from persistill.data import load
from persistill.errors import UserError
from persistill.exporters import export_student, hub, load_student
from persistill.exporters.formats import FORMATS
from persistill.models import build, save
from persistill.run_folder import RunFolder

NAME = "own_students:make"
SOURCE = """
from torch import nn

def make(in_channels, num_classes):
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes),
    )

def other(in_channels, num_classes):
    return make(in_channels, num_classes)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A user's module, importable as ``own_students``."""
    place = tmp_path / "code"
    place.mkdir()
    (place / "own_students.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(place)
    yield place
    sys.modules.pop("own_students", None)


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_an_export_is_loaded_by_whoever_says_the_name(own, about, images, tmp_path) -> None:
    student = build(NAME, 1, 10, (8, 8))
    (tmp_path / "out").mkdir()
    result = export_student(student, about, images, tmp_path / "out", formats=())
    assert result["difference"] == {"safetensors": 0.0}
    with pytest.raises(UserError, match=f"name it yourself.*{NAME}"):
        load_student(tmp_path / "out")
    with pytest.raises(UserError, match="'own_students:other' is expected here"):
        load_student(tmp_path / "out", "own_students:other")
    loaded = load_student(tmp_path / "out", NAME)
    inputs = images.float() / 255
    with torch.inference_mode():
        expected = student.eval()((inputs - 0.31) / 0.38).logits
        torch.testing.assert_close(loaded(inputs), expected)
        torch.testing.assert_close(hub.from_pretrained(tmp_path / "out", model=NAME)(inputs), expected)


def test_an_export_from_the_hub_runs_code_only_for_whoever_says_the_name(own, about, images, tmp_path, monkeypatch):
    export_student(build(NAME, 1, 10, (8, 8)), about, images, tmp_path, formats=())
    monkeypatch.setattr(hub, "hf_hub_download", lambda name, file, revision: str(tmp_path / file))
    with pytest.raises(UserError, match=f"name it yourself.*{NAME}"):
        hub.from_pretrained("me/own")
    assert hub.from_pretrained("me/own", model=NAME)(images.float() / 255).shape == (len(images), 10)


def test_an_export_is_repeated_over_itself_and_over_nothing_else(own, about, images, tmp_path) -> None:
    student = build(NAME, 1, 10, (8, 8))
    (tmp_path / "out").mkdir()
    export_student(student, about, images, tmp_path / "out", formats=())
    export_student(student, about, images, tmp_path / "out", formats=())
    for other in (build(NAME, 1, 10, (8, 8)), build("own_students:other", 1, 10, (8, 8)), build("resnet-8", 1, 10)):
        with pytest.raises(UserError, match="holds another model"):
            export_student(other, about, images, tmp_path / "out", formats=())


def test_a_run_of_it_ends_with_an_export_and_can_be_measured_and_exported_again(
    own, tmp_path, capsys, monkeypatch
) -> None:
    for name in ("int8", "program", "executorch"):  # which take time, and are of the same network
        monkeypatch.setitem(FORMATS, name, dataclasses.replace(FORMATS[name], packages=("no_such_package",)))
    out = tmp_path / "runs"
    quick = ["--set", "train.epochs=1", "--set", "evaluate.attacks=()", "--set", "evaluate.corruptions=()"]
    quick += ["--set", "data.train=120", "--set", "data.test=60", "--set", f"student.name={NAME}"]
    assert command("run", "kd_digits", "--out", out, "--device", "cpu", "--seeds", "0", *quick) == 0
    (exported,) = out.glob("export-*")
    assert json.loads((exported / "model.json").read_text())["model"] == NAME
    assert (exported / "model.onnx").is_file()

    run = out / json.loads((exported / "done.json").read_text())["student"]["run"]
    assert command("eval", run, "--noise", "0.3", "--device", "cpu", "--model", NAME) == 0
    assert "accuracy % at noise 0.3" in capsys.readouterr().out
    assert command("export", run, "--output", tmp_path / "again", "--model", NAME) == 0
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (exported, tmp_path / "again"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("words", [("predict", "{run}", "{image}"), ("predict", "{run}/model.safetensors", "{image}"),
                                   ("eval", "{run}", "--device", "cpu"), ("export", "{run}", "--output", "{target}"),
                                   ("push", "{run}", "me/own")])  # fmt: skip
def test_code_that_a_run_folder_names_is_not_run(words, own, tmp_path, capsys) -> None:
    network = build(NAME, 1, 10, (8, 8))
    recipe = {"data": Data(source="digits").to_json()}
    inputs = {"model": NAME, "data": load(Data(source="digits")).fingerprint, "mean": [0.3], "std": [0.3]}
    run = RunFolder.create(tmp_path, "student", "theirs", inputs, {"recipe": recipe})
    about = {"classes": list("0123456789"), "mean": [0.3], "std": [0.3], "view": "image", "shape": [1, 8, 8]}
    save(network, run.file("model.safetensors"), about)
    run.finish({})
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    marker = own / "ran"
    (own / "own_students.py").write_text(f"open({str(marker)!r}, 'w')\n{SOURCE}")
    sys.modules.pop("own_students", None)
    places = {"run": run.path, "image": tmp_path / "image.png", "target": tmp_path / "exported"}
    assert command(*(word.format(**places) for word in words)) == 2
    assert f"--model {NAME}" in capsys.readouterr().err
    assert not marker.exists()
    assert "own_students" not in sys.modules
