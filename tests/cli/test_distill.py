"""`persistill distill` as somebody meets it who has a folder of images and no recipe."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from persistill import models, report
from persistill.api import recipe_files
from persistill.cli import main

SIMPLE = ["--teacher", "resnet-8", "--student", "resnet-8", "--method", "kd", "--device", "cpu"]
QUICK = ["--epochs", 1, "--seeds", 0, "--set", "evaluate.noise=()", "--set", "evaluate.attacks=()"]
QUICK += ["--set", "evaluate.corruptions=()"]


class Prediction(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def distill(capsys: pytest.CaptureFixture[str]) -> Callable[..., Prediction]:
    def call(*arguments: object) -> Prediction:
        with pytest.raises(SystemExit) as stop:
            main(["distill", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Prediction(stop.value.code, " ".join(out.split()), " ".join(err.split()))

    return call


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of colored images of 12 x 10."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(90):
        folder = root / ("ant", "bee", "cat")[number % 3]
        folder.mkdir(exist_ok=True)
        pixels = generator.integers(0, 200, (12, 10, 3), dtype=np.uint8)
        pixels[..., number % 3] += 50
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def only(root: Path, pattern: str) -> Path:
    (found,) = root.glob(pattern)
    return found


def test_it_plans_runs_reports_and_exports(distill, images: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "runs", tmp_path / "mine.py"
    arguments = ["--data", images, *SIMPLE, *QUICK, "--int8-epochs", "1", "--out", out, "--save-recipe", file]
    answer = distill(*arguments)
    assert answer.code == 0
    for words in (
        "65 to train on, 7 to choose with, 18 to test on; 3 classes; 12x10, color",
        "to be trained",
        "95 % interval",
        "Only one seed was trained",
        "of disk: measured just now",
        "of memory",
        "--quick would save about",
        "--set 'evaluate.similarity=false' about",
        "exported student, trained on for int8",
    ):
        assert words in answer.out
    assert "after quantization-aware training: the checkpoint's class" in " ".join(answer.out.split())
    comparison = only(out, "comparison-*")
    result = json.loads((comparison / "done.json").read_text())
    assert [row["arm"] for row in result["rows"]] == ["alone", "kd"]
    (line,) = report.verdicts(report.read(comparison))
    assert line in answer.out
    assert line in " ".join((comparison / "report.html").read_text(encoding="utf-8").split())
    assert (out / result["export"] / "model.safetensors").is_file()

    # The command in the report repeats it, and has nothing left to do then; so has the recipe that was written.
    command = shlex.split(result["command"])
    assert command[:2] == ["persistill", "distill"]
    done = {path: path.stat().st_mtime_ns for path in out.glob("*/done.json")}
    again = distill(*command[2:], "--device", "cpu")
    assert again.code == 0
    assert "Nothing is left to train" in again.out
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/done.json")} == done
    recipe = recipe_files.read(str(file))
    assert recipe.to_json() == json.loads((comparison / "run.json").read_text())["inputs"]["recipe"]


def test_a_trained_teacher_is_taken_over_and_tried(distill, images: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert distill("--data", images, *SIMPLE, *QUICK, "--out", first).code == 0
    weights = only(first, "teacher-image-*") / "model.safetensors"
    answer = distill(
        "--data", images, *SIMPLE, *QUICK, "--out", tmp_path / "second", "--teacher-weights", weights, "--dry-run"
    )
    assert answer.code == 0
    assert f"weights from {weights}" in answer.out
    assert re.search(r"The teacher is right on \d+\.\d% of 7 validation images", answer.out)
    assert "taken over" in answer.out
    assert "as model.safetensors says" in answer.out


def test_tgd_without_augmentation_on_gray_images_of_different_sizes(distill, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(80):
        folder = tmp_path / "images" / ("x", "y")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        size = (8 + number % 3, 9 + number % 2)
        Image.fromarray(generator.integers(0, 255, size, dtype=np.uint8)).save(folder / f"{number}.png")
    arguments = ["--data", tmp_path / "images", *SIMPLE[:4], "--device", "cpu", *QUICK, "--no-augment", "--dry-run"]
    arguments += ["--method", "tgd"]
    answer = distill(*arguments, "--out", tmp_path / "runs")
    assert answer.code == 0
    assert "2 classes; 8x8, gray" in answer.out
    assert "scaled until they cover 8x8" in answer.out
    assert "topology teacher wrn-16-2, trained on persistence images" in answer.out
    assert "topology teacher's answers, stored" in answer.out
    assert not (tmp_path / "runs").exists()


def test_training_starts_from_weights_for_other_classes(distill, images: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "w.safetensors", tmp_path / "runs"
    models.save(models.build("resnet-8", 3, 7), file, {"mean": [0.5] * 3, "std": [0.25] * 3, "view": "image"})
    wish = ["--data", images, *SIMPLE, *QUICK, "--teacher-initial", file, "--student-initial", file, "--out", out]
    answer = distill(*wish)
    assert answer.code == 0
    for words in (
        f"to be trained, from {file}",
        f"Every student starts from {file}: the classifier starts fresh: the file {file} has 7 classes, the data 3.",
        "Images are normalized for the weights, as w.safetensors says.",
        "initial weights of the student: ",
    ):
        assert words in answer.out
    about = json.loads((only(out, "student-kd-*") / "run.json").read_text())
    assert about["inputs"]["mean"] == [0.5] * 3
    command = json.loads((only(out, "comparison-*") / "done.json").read_text())["command"]
    assert f"--teacher-initial {file} --student resnet-8 --student-initial {file}" in command
    assert "Nothing is left to train" in distill(*shlex.split(command)[2:], "--dry-run", "--device", "cpu").out


def test_networks_of_others_see_images_of_a_stated_size(distill, images: Path, tmp_path: Path) -> None:
    answer = distill(
        *["--data", images, "--teacher", "timm/test_vit", "--student", "timm/test_resnet", "--method", "kd+sp"],
        *["--size", "32", "--dry-run", "--device", "cpu", "--out", tmp_path / "runs", *QUICK],
    )
    assert answer.code == 0
    assert "32x32, color" in answer.out
    assert "adamw" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "tdg"], "Did you mean 'tgd'"),
        (["--size", "big"], "--size 'big' is no size"),
        (["--seeds", "a"], "--seeds 'a': write different whole numbers"),
        (["--seeds", "1,1"], "--seeds '1,1': write different whole numbers"),
        (["--lr", "-1"], "Error: --lr: a learning rate is larger than 0"),
        (["--lr", "1e20"], "Error: --lr: must be 0, or from"),
        (["--export", "kdd"], "unknown arm to export (--export): 'kdd'"),
        (["--batch-size", "70"], "leaves 65 images for training, fewer than that"),
        (["--set", "train.foo=1"], "'train.foo'"),
        (["--set", "data.foo=1"], "field of Data"),
        (["--teacher", "wrn-16-9"], "Did you mean 'wrn-16-8'"),
        (["--teacher-weights", "missing.safetensors"], "--teacher-weights: there is no file missing.safetensors"),
        (["--teacher-weights", "a", "--teacher-initial", "b"], "Give one of the two"),
        (["--teacher-initial", "pretrained"], "--teacher-initial: nobody publishes weights of 'resnet-8'"),
        (["--student-initial", "w.pth"], "--student-initial: w.pth is a pickle by its name"),
        (["--save-recipe", "no/such/folder/x.py"], "there is no folder no/such/folder"),
        (["--teacher", "timm/test_vit"], "--size 32x32 brings images to such a size"),
    ],
)
def test_a_mistake_is_a_sentence(distill, images: Path, tmp_path: Path, arguments, message: str) -> None:
    answer = distill("--data", images, *SIMPLE, "--out", tmp_path / "runs", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(distill, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    answer = distill("--data", images, *SIMPLE, "--save-recipe", file)
    assert answer.code == 2
    assert "was not overwritten" in answer.err
    assert file.read_text() == "precious"


def test_what_does_not_fit_on_the_disk_is_not_begun(distill, images: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("persistill.api.distillation.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    answer = distill("--data", images, *SIMPLE, *QUICK, "--out", tmp_path / "runs")
    assert answer.code == 2
    assert "1 kB are free there" in answer.err
    assert not (tmp_path / "runs").exists()


def test_what_only_comes_before_another_student_is_no_result(distill, images: Path, tmp_path: Path) -> None:
    answer = distill(
        *["--data", images, "--teacher", "resnet-8", "--student", "resnet-8", "--method", "ab", "--device", "cpu"],
        *[*QUICK, "--out", tmp_path / "runs"],
    )
    assert answer.code == 0
    folder = only(tmp_path / "runs", "comparison-*")
    (line,) = report.verdicts(report.read(folder))
    assert re.match("ab is (not distinguishable from|better than|worse than) alone in accuracy", line)
