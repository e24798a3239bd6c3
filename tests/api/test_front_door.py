"""The front door in Python: it does what the commands do, says nothing on the way, and shows its results."""

import inspect
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import persistill
from persistill.autoconfig import Options
from persistill.cli import main
from persistill.cli.distill import distill as distill_command
from persistill.errors import UserError

UNMEASURED = {"evaluate.noise": (), "evaluate.attacks": (), "evaluate.corruptions": ()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of colored images of 10 x 10: more red, and more blue."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(60):
        folder = root / ("red", "blue")[number % 2]
        folder.mkdir(exist_ok=True)
        pixels = generator.integers(0, 150, (10, 10, 3), dtype=np.uint8)
        pixels[..., (0, 2)[number % 2]] += 100
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def result(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> persistill.Result:
    return persistill.distill(
        photos,
        "resnet-8",
        "resnet-8",
        method="kd",
        epochs=1,
        seeds=[0],
        changes=UNMEASURED,
        out=tmp_path_factory.mktemp("runs"),
        device="cpu",
    )


def test_the_command_has_nothing_left_to_do(result, capsys: pytest.CaptureFixture[str]) -> None:
    command = json.loads((result.folder / "done.json").read_text())["command"]
    done = {path: path.stat().st_mtime_ns for path in result.folder.parent.glob("*/done.json")}
    with pytest.raises(SystemExit) as stop:
        main([*shlex.split(command)[1:], "--device", "cpu"])
    assert stop.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Nothing is left to train" in out
    assert {path: path.stat().st_mtime_ns for path in result.folder.parent.glob("*/done.json")} == done
    for sentence in result.verdict.splitlines():
        assert sentence in out


def test_a_result_shows_itself(result) -> None:
    assert [row[0] for row in result.table.rows][:2] == ["alone", "kd"]
    assert result.report.is_file()
    assert (result.exported / "model.onnx").is_file()
    assert result.unreadable == ()
    shown = repr(result)
    for part in (str(result.table), result.verdict, str(result.report), str(result.exported)):
        assert part in shown
    html = result._repr_html_()
    assert html.count("<tr>") == 2 + len(result.decision.table.rows) + len(result.table.rows)
    assert "report.html" in html
    assert repr(persistill.Result(result.folder)) == shown
    assert (result.student("kd") / "model.safetensors").is_file()
    with pytest.raises(UserError, match="is not a run folder"):
        persistill.Result(result.folder.parent)


def test_the_student_answers(result, photos: Path) -> None:
    student = persistill.load(result.exported)
    file = photos / "red" / "0.png"
    one = student.predict(file)
    assert one.name in {"red", "blue"}
    assert student.predict(str(file)) == one
    with Image.open(file) as image:
        assert student.predict([image, file]) == [one, one]
        assert image.mode == "RGB"  # it is left as it was
    assert student.predict([]) == []
    predicted = persistill.predict(student, photos)
    assert [entry.file for entry in predicted] == sorted(photos.rglob("*.png"))
    assert dict(predicted)[file].confidence == pytest.approx(one.confidence, abs=1e-6)
    assert persistill.predict(result.exported, [file]) == [(file, one)]
    assert "2 classes" in repr(student)


def test_what_is_no_image(result, photos: Path, tmp_path: Path) -> None:
    student = persistill.load(result.exported)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(UserError, match="there is no file nowhere"):
        student.predict("nowhere")
    with pytest.raises(UserError, match="cannot be read as an image"):
        student.predict(broken)
    with pytest.raises(ValueError, match="mode 'F'"):
        student.predict(Image.new("F", (10, 10)))
    with pytest.raises(UserError, match=r"1 of 1 files cannot be read.*skip_unreadable=True"):
        persistill.predict(student, broken)
    assert persistill.predict(student, broken, skip_unreadable=True) == []


def test_a_network_is_measured_and_exported(result, tmp_path: Path) -> None:
    run = result.student("kd")
    measured = persistill.evaluate(run, changes={**{k[9:]: v for k, v in UNMEASURED.items()}, "ece_bins": 5})
    assert 0 <= measured.metrics["accuracy"] <= 1
    assert "ECE % (5 bins of equal width)" in repr(measured)
    assert "<table>" in measured._repr_html_()
    written = persistill.export(run, tmp_path / "student")
    assert persistill.load(written.folder).classes == ("blue", "red")
    assert "model.onnx" in repr(written)
    assert "<table>" in written._repr_html_()
    with pytest.raises(UserError, match="exists already"):
        persistill.export(run, tmp_path / "student")


def test_a_plan_is_looked_at_before_it_is_run(photos: Path, tmp_path: Path) -> None:
    plan = persistill.plan(photos, "resnet-8", "resnet-8", method=["kd", "kd+at"], size=8, out=tmp_path / "runs")
    assert list(plan.recipe.arms) == ["alone", "kd", "kd+at"]
    assert plan.recipe.data.size == (8, 8)
    assert "The teacher resnet-8 was given no weights" in repr(plan)
    assert "Recipe(" in plan.save(tmp_path / "mine.py").read_text()
    with pytest.raises(UserError, match="was not overwritten"):
        plan.save(tmp_path / "mine.py")
    assert not (tmp_path / "runs").exists()


def test_nothing_is_printed(result, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    persistill.run(
        persistill.plan(
            photos,
            "resnet-8",
            "resnet-8",
            method="kd",
            epochs=1,
            seeds=(0,),
            changes=UNMEASURED,
            out=result.folder.parent,
        ).recipe,
        out=result.folder.parent,
        device="cpu",
    )
    assert capsys.readouterr() == ("", "")


def test_function_command_and_options_agree() -> None:
    function = inspect.signature(persistill.distill).parameters
    planned = inspect.signature(persistill.plan).parameters
    of_a_run = {"progress", "workers", "executor"}  # a plan takes them when it is run
    assert {name: p.default for name, p in function.items() if name not in of_a_run} == {
        name: p.default for name, p in planned.items()
    }
    command = inspect.signature(distill_command).parameters
    of_launching = {"devices", "nodes", "node_rank", "rendezvous"}  # in Python torchrun starts the processes
    assert set(command) - {"dry_run", "save_recipe"} - of_a_run - of_launching == set(planned)
    fields = Options.model_fields
    assert {name.replace("methods", "method") for name in fields} == set(planned) - {"changes", "out", "device"}
    for name, field in fields.items():
        if name not in {"data", "task", "teacher", "student", "methods"}:  # the task is told from the data
            assert field.default == planned[name].default, name
    assert command["seeds"].default == ",".join(map(str, planned["seeds"].default))
    for name in ("epochs", "batch_size", "lr", "augment", "int8_epochs", "device", "size"):
        assert command[name].default == planned[name].default, name


def test_a_mistake_is_told_before_anything_is_done(photos: Path, tmp_path: Path) -> None:
    def refused(match: str, **choices: object) -> None:
        with pytest.raises(UserError, match=match):
            persistill.distill(photos, "resnet-8", "resnet-8", out=tmp_path / "runs", **choices)  # type: ignore[arg-type]

    refused("Did you mean 'tgd'", method="tdg")
    refused("a learning rate is larger than 0", lr=-1.0)
    refused("Give one of the two", teacher_weights="a", teacher_initial="b")
    refused("'train.foo'", changes={"train.foo": 1})
    with pytest.raises(UserError, match="Did you mean 'resnet-8'"):
        persistill.distill(photos, "resnet-9", "resnet-8")
    assert not (tmp_path / "runs").exists()
