"""The command line as its user meets it: what it prints, what it writes, its exit codes."""

import contextlib
import dataclasses
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persistill import report, run_folder
from persistill.api import recipe_files
from persistill.api.distillation import plan
from persistill.cli import main
from persistill.cli.app import app
from persistill.errors import UserError
from persistill.exporters import FORMATS
from persistill.pipeline import Pipeline

COMMANDS = (
    "demo",
    "run",
    "reproduce",
    "check",
    "ls",
    "cp",
    "eval",
    "report",
    "export",
    "predict",
    "import-checkpoint",
    "push",
    "topology",
    "distill",
    "dashboard",
    "doctor",
)
TINY = ["--set", "data.train=240", "--set", "data.test=100", "--set", "train.epochs=1", "--seeds", "0"]


class Prediction:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def persistill(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> Prediction:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Prediction(stop.value.code, out, err)

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the smallest recipe."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.raises(SystemExit) as stop:
        main(["run", "kd_digits", "--out", str(root), "--device", "cpu", *TINY])
    assert stop.value.code == 0
    return root


def only(root: Path, pattern: str) -> Path:
    (found,) = root.glob(pattern)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_examples_that_parse(persistill, command: str) -> None:
    answer = persistill(command, "--help")
    assert answer.code == 0
    plain = re.sub(r"[│╭╮╰╯─]", " ", answer.out)
    examples = [line.split() for line in plain[plain.rindex("Examples") :].splitlines() if "persistill" in line]
    assert len(examples) >= 2
    options = set(re.findall(r"--[a-z-]+", plain[: plain.rindex("Examples")]))
    for example in examples:
        assert example[:2] == ["persistill", command]
        assert {word for word in example if word.startswith("--")} <= options


def test_the_package_is_the_command_line_too() -> None:
    done = subprocess.run([sys.executable, "-m", "persistill", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == version("persistill")


def test_paragraphs_of_a_help_fill_their_lines() -> None:
    helps = [(command.callback.__name__, command.help) for command in app.registered_commands]
    assert all("\n" not in part for _, text in helps for part in text.split("\n\n"))
    assert "so that the table and the report at the end" in dict(helps)["distill"]


def test_ls_names_recipes_and_runs(persistill, finished: Path) -> None:
    answer = persistill("ls", "--out", finished)
    assert answer.code == 0
    assert "kd_digits" in answer.out
    assert "The smallest recipe" in answer.out or "smallest recipe" in answer.out
    by_folder = {
        folder.name: line for folder in finished.iterdir() for line in answer.out.splitlines() if folder.name in line
    }
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d ", line) for line in by_folder.values())
    comparison = only(finished, "comparison-*")
    assert by_folder[comparison.name].endswith("complete")
    result = json.loads((comparison / "done.json").read_text())
    for row in result["rows"]:
        reached = json.loads((finished / row["evaluation"] / "done.json").read_text())["metrics"]["accuracy"]
        assert f"Accuracy {reached:.2%}" in by_folder[row["run"]]
        assert f"Accuracy {reached:.2%}" in by_folder[row["evaluation"]]
        assert by_folder[row["run"]].endswith("exported") == (row["run"] == result["choice"]["run"])


def test_ls_passes_over_what_it_cannot_read(persistill, tmp_path: Path) -> None:
    for name, content in (("student-old", '{"format": 1, "kind": "student"}'), ("student-cut", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    answer = persistill("ls", "--out", tmp_path)
    assert answer.code == 0
    assert "Passed over 2 run folders of another version of persistill, or damaged: student-cut, student-old" in (
        answer.out
    )


def test_cp_copies_and_never_overwrites(persistill, tmp_path: Path) -> None:
    target = tmp_path / "mine.py"
    assert persistill("cp", "kd_digits", target).code == 0
    before = target.read_text()
    assert "Recipe(" in before
    answer = persistill("cp", "tgd_digits", target)
    assert answer.code == 2
    assert "not overwritten" in answer.err
    assert target.read_text() == before


def test_a_run_ends_with_a_table_a_report_and_a_student(persistill, finished: Path) -> None:
    answer = persistill("run", "kd_digits", "--out", finished, "--device", "cpu", *TINY)
    assert answer.code == 0
    assert report.decide(report.read(only(finished, "comparison-*"))).sentence in " ".join(answer.out.split())
    assert "Test accuracy %" in answer.out
    assert "report.html" in answer.out
    comparison = only(finished, "comparison-*")
    result = json.loads((comparison / "done.json").read_text())
    assert {row["arm"] for row in result["rows"]} == {"alone", "kd"}
    assert (comparison / "report.html").stat().st_size > 10_000
    assert (finished / result["export"] / "model.onnx").is_file()


def test_a_finished_run_is_not_computed_again(persistill, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/done.json")}
    assert persistill("run", "kd_digits", "--out", finished, "--device", "cpu", *TINY).code == 0
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*/done.json")} == before


def test_a_dry_run_plans_and_writes_nothing(persistill, tmp_path: Path) -> None:
    answer = persistill("run", "kd_digits", "--out", tmp_path / "runs", "--dry-run", *TINY)
    assert answer.code == 0
    assert "student-kd-seed0" in answer.out
    assert "to do" in answer.out
    assert not (tmp_path / "runs").exists()


def test_eval_measures_a_student_under_other_noise(persistill, finished: Path) -> None:
    student = only(finished, "student-kd-seed0-*")
    answer = persistill("eval", student, "--noise", "0.3", "--ece-bins", "5", "--device", "cpu")
    assert answer.code == 0
    assert "accuracy % at noise 0.3" in answer.out
    metrics = [json.loads(path.read_text())["metrics"] for path in finished.glob("evaluation-kd-seed0-*/done.json")]
    assert len({metric["accuracy"] for metric in metrics}) == 1
    (other,) = [metric for metric in metrics if "0.3" in metric["noise"]]
    rows = [re.split(r"\s{2,}", line.strip()) for line in answer.out.splitlines()]
    assert ["NLL", f"{other['nll']:.4f}", f"{other['calibrated']['nll']:.4f}"] in rows
    assert ["accuracy % of the best 5 answers", f"{100 * other['top_k']['accuracy']:.2f}"] in rows


def test_eval_takes_any_field_of_its_settings(persistill, finished: Path) -> None:
    student = only(finished, "student-kd-seed0-*")
    changes = ["--set", "attacks=(4.0,)", "--set", "attack_images=20", "--set", "corruptions=()"]
    changes += ["--set", "ood=digits", "--set", "ood_images=30"]
    answer = persistill("eval", student, *changes, "--device", "cpu")
    assert answer.code == 0
    assert "accuracy % under PGD, 4/255" in answer.out
    assert "AUROC % of energy against 30 of digits" in answer.out
    assert "corruption" not in answer.out
    again = persistill("eval", student, *changes, "--device", "cpu")
    assert again.out.splitlines()[-20:] == answer.out.splitlines()[-20:]
    wrong = persistill("eval", student, "--set", "attack=(4.0,)")
    assert wrong.code == 2
    assert "attacks" in wrong.err


def test_report_is_written_again_elsewhere(persistill, finished: Path, tmp_path: Path) -> None:
    answer = persistill("report", only(finished, "comparison-*"), "--output", tmp_path / "page.html")
    assert answer.code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_export_writes_a_student_and_never_overwrites(persistill, finished: Path, tmp_path: Path) -> None:
    student, target = only(finished, "student-alone-seed0-*"), tmp_path / "student"
    done = persistill("export", student, "--output", target)
    assert done.code == 0
    assert (target / "model.safetensors").is_file()
    assert re.search(r"model\.onnx +\d+ kB +100\.00", done.out)
    # Other evaluations of this student may differ in noise and bins, and not in their temperature.
    evaluation = next(finished.glob("evaluation-alone-seed0-*/done.json"))
    temperature = json.loads(evaluation.read_text())["metrics"]["calibrated"]["temperature"]
    assert json.loads((target / "model.json").read_text())["temperature"] == pytest.approx(temperature, rel=1e-6)
    answer = persistill("export", student, "--output", target)
    assert answer.code == 2
    assert "was not overwritten" in answer.err


def test_export_writes_the_formats_that_are_named(persistill, finished: Path, tmp_path: Path) -> None:
    student, target = only(finished, "student-alone-seed0-*"), tmp_path / "student"
    unknown = persistill("export", student, "--output", target, "--formats", "programme")
    assert (unknown.code, target.exists()) == (2, False)
    assert "unknown format 'programme'. Did you mean 'program'?" in unknown.err
    assert persistill("export", student, "--output", target, "--formats", "program").code == 0
    assert {path.name for path in target.iterdir()} == {"model.safetensors", "model.pt2", "model.json"}


def test_a_format_that_was_asked_for_and_fails_is_an_error(persistill, finished, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such operator")

    monkeypatch.setitem(FORMATS, "program", dataclasses.replace(FORMATS["program"], write=fail))
    student, target = only(finished, "student-alone-seed0-*"), tmp_path / "student"
    answer = persistill("export", student, "--output", target, "--formats", "program")
    assert answer.code == 2
    said = "model.pt2 could not be written: ValueError: no such operator. The other files are in"
    assert said in " ".join(answer.err.split())
    assert {path.name for path in target.iterdir()} == {"model.safetensors", "model.json"}


def test_a_pushed_student_takes_its_card_along(persistill, finished: Path, monkeypatch) -> None:
    from persistill.exporters import hub

    pushed = {}
    monkeypatch.setattr(hub, "push_to_hub", lambda folder, name, **options: pushed.update(options) or f"hub/{name}")
    answer = persistill("push", only(finished, "export-*"), "me/digits")
    assert (answer.code, pushed["private"]) == (0, True)
    assert "Pushed to hub/me/digits" in answer.out
    assert "kd_digits" in pushed["card"]
    assert persistill("push", only(finished, "student-alone-seed0-*"), "me/digits", "--public").code == 0
    assert (pushed["private"], "alone" in pushed["card"]) == (False, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tdg_digits"], "Did you mean 'tgd_digits'"),
        (["run", "kd_digits", "--set", "train.epoch=3"], "Did you mean 'epochs'"),
        (["run", "kd_digits", "--set", "train.epochs"], "lacks '='"),
        (["run", "kd_digits", "--set", "train.lr=-1"], "Train.lr"),
        (["run", "kd_digits", "--set", "student.name=resnet-9"], "unknown model 'resnet-9'"),
        (["run", "kd_digits", "--set", "data.source=digit"], "Did you mean 'digits'"),
        (["run", "kd_digits", "--set", "arms.kd.methods.0.weight=nan"], "KD.weight"),
        (["run", "kd_digits", "--device", "gpu"], "unknown device 'gpu'"),
        (["run", "kd_digits", "--set", "teachers.image.weights=missing.safetensors"], "no file 'missing.safetensors'"),
        (["eval", "nowhere"], "is not a run folder"),
        (["report", "nowhere"], "is not a run folder"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_users_mistake_is_a_sentence_and_exit_code_2(persistill, tmp_path: Path, arguments, message: str) -> None:
    out = ["--out", tmp_path] if arguments[0] == "run" else []
    answer = persistill(*arguments, *out)
    assert answer.code == 2
    assert message in " ".join(answer.err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "kd_digits", "--dry-run", "--out"],
        ["check", "kd_digits", "--out"],
        ["ls", "--out"],
        ["doctor", "--out"],
        ["dashboard", "--out"],
        ["distill", "--data", "digits", "--teacher", "wrn-16-2", "--student", "resnet-8", "--dry-run", "--out"],
        ["export", "nowhere", "--out"],
        ["report", "nowhere", "--paper"],
    ],
)
def test_a_file_in_place_of_a_folder_is_refused_at_once(persistill, tmp_path: Path, arguments) -> None:
    file = tmp_path / "taken"
    file.write_text("mine")
    for given, place in ((file, "it"), (file / "runs", str(file))):
        answer = persistill(*arguments, given)
        assert (answer.code, answer.out) == (2, "")
        assert f"{arguments[-1]} {given}: {place} is a file, and a folder is needed there" in answer.err
    assert file.read_text() == "mine"
    with pytest.raises(UserError, match="is a file"):
        plan("nowhere", "wrn-16-2", "resnet-8", out=file)
    with pytest.raises(UserError, match="is a file"):
        Pipeline(recipe_files.read("kd_digits"), file)


def test_a_report_is_written_where_a_file_can_be(persistill, finished: Path, tmp_path: Path) -> None:
    comparison = only(finished, "comparison-*")
    answer = persistill("report", comparison, "--out", tmp_path)
    assert answer.code == 2
    assert "is a folder" in answer.err
    assert "there is no folder" in persistill("report", comparison, "--out", tmp_path / "no" / "report.html").err


def test_a_folder_of_images_is_checked_by_itself(persistill, tmp_path: Path, write_squares: Callable[..., str]) -> None:
    boxes = write_squares(tmp_path / "my squares", count=24, side=32)
    answer = persistill("check", boxes)
    assert answer.code == 0
    told = " ".join(answer.out.split())
    assert "2 classes; 32x32, color" in told
    assert "The task is detection, because the images of" in told
    assert f"no problem found. To plan a distillation: persistill distill --data '{boxes}' --task detection" in told
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16), dtype=np.uint8)
    for number, image in enumerate(pixels):
        folder = tmp_path / "images" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "1.png").write_bytes(pixels[1].tobytes())
    broken = persistill("check", tmp_path / "images")
    assert broken.code == 2
    assert "1.png" in broken.err
    Image.fromarray(pixels[3]).save(folder / "1.png")
    told = " ".join(persistill("check", tmp_path / "images").out.split())
    assert "2 classes; 16x16, gray" in told
    assert re.search(r"read the \d notes? on its images above", told)  # two images are the same
    assert f"persistill distill --data {tmp_path / 'images'} --teacher NETWORK" in told
    refused = persistill("check", boxes, "--set", "data.size=8,8")
    assert refused.code == 2
    assert "names images. Leave them out" in refused.err


def test_all_problems_of_a_recipe_file_are_told_at_once(persistill, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from persistill.config import *\n"
        "recipe = Recipe(name='x', data=Data(sorce='digits'), student=Model(name='resnet-8'), arms={'a': Arm()},\n"
        "                train=Train(epochs=0, lr=float('nan')))\n"
    )
    answer = persistill("check", path)
    assert answer.code == 2
    for part in ("'sorce'", "'source'", "Train.epochs", "Train.lr"):
        assert part in answer.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe = (", "line 1"),
        ("x = 1\n", "defines no recipe"),
        ("raise RuntimeError('boom')\n", "stopped with RuntimeError: boom"),
    ],
)
def test_a_file_that_is_no_recipe_is_told(persistill, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    answer = persistill("check", path)
    assert answer.code == 2
    assert message in answer.err


def test_a_full_disk_is_a_fault_that_loses_nothing(persistill, tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_folder, "write_json", full)
    answer = persistill("run", "kd_digits", "--out", tmp_path, "--device", "cpu", *TINY)
    assert answer.code == 1
    assert "the disk is full" in answer.err


def test_a_bug_is_a_fault_with_its_story_in_a_file(persistill, tmp_path: Path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("persistill.api.recipe_files.shipped", broken)
    answer = persistill("ls")
    assert answer.code == 1
    assert "ZeroDivisionError" in answer.err
    assert "Traceback" in (tmp_path / "persistill-fault.log").read_text()
    # A recipe's own code, or here a test's, is not called a mistake of the package.
    assert "test_cli.py, line" in answer.err
    assert "mistake in persistill" not in answer.err
    monkeypatch.setattr("persistill.api.recipe_files.shipped", partial(divmod, 1, 0))
    assert "This is a mistake in persistill" in persistill("ls").err


def test_a_run_folder_of_another_recipe_is_refused_and_kept(persistill, finished: Path, tmp_path: Path) -> None:
    teacher = only(finished, "teacher-image-*")
    forged = tmp_path / teacher.name
    forged.mkdir()
    about = json.loads((teacher / "run.json").read_text())
    about["inputs"]["seed"] = 99
    (forged / "run.json").write_text(json.dumps(about))
    answer = persistill("run", "kd_digits", "--out", tmp_path, "--device", "cpu", *TINY)
    assert answer.code == 2
    assert "written by another recipe" in answer.err
    assert json.loads((forged / "run.json").read_text()) == about


def test_ctrl_c_says_how_to_go_on(persistill, monkeypatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("persistill.api.recipe_files.shipped", pressed)
    answer = persistill("ls")
    assert answer.code == 130
    assert "goes on where it stopped" in answer.err


def test_an_error_that_a_library_makes_of_a_signal_is_no_fault(persistill, monkeypatch) -> None:
    def unreadable(*_: object) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("holds no weights")

    monkeypatch.setattr("persistill.api.recipe_files.shipped", unreadable)
    answer = persistill("ls")
    assert answer.code == 143
    assert "Stopped by SIGTERM" in answer.err
    assert "holds no weights" not in answer.err


def test_the_command_in_the_report_repeats_the_run(finished: Path) -> None:
    result = json.loads((only(finished, "comparison-*") / "done.json").read_text())
    words = shlex.split(result["command"])
    assert words[:3] == ["persistill", "run", "kd_digits"]
    assert words[words.index("--seeds") + 1] == "0"
    assert "train.epochs=1" in words


def test_an_unreadable_image_is_named_and_left_out_only_if_asked(persistill, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(60):
        folder = tmp_path / "images" / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    damaged = tmp_path / "images" / "cat" / "10.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    arguments = ["run", "kd_digits", "--out", tmp_path / "runs", "--device", "cpu", "--seeds", "0"]
    arguments += [
        "--set",
        f"data.source={tmp_path / 'images'}",
        "--set",
        "train.epochs=1",
        "--set",
        "train.batch_size=8",
    ]
    refused = persistill(*arguments)
    assert refused.code == 2
    assert "10.png" in refused.err
    assert "data.skip_unreadable=true" in refused.err
    assert not (tmp_path / "runs").exists()
    answer = persistill(*arguments, "--set", "data.skip_unreadable=true")
    assert answer.code == 0
    assert "1 unreadable image: " in answer.out
    assert "10.png" in answer.out
    last = "".join(answer.out.split("Exported student")[1:])
    assert "validation image" in last
    assert "Left out" not in last
    assert len(last.strip().splitlines()) == 1


def test_an_empty_folder_is_named(persistill, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = persistill("run", "kd_digits", "--out", tmp_path / "runs", "--set", f"data.source={tmp_path / 'empty'}")
    assert answer.code == 2
    assert "empty" in answer.err


def test_recipes_cannot_be_imported() -> None:
    import importlib.util

    from persistill.api.recipe_files import shipped

    folder = next(iter(shipped().values())).parent
    spec = importlib.util.spec_from_file_location("recipes", folder / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ModuleNotFoundError, match="persistill cp NAME"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
