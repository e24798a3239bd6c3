"""`persistill verify` names whatever is not as it was written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persistill import run_folder
from persistill.cli.app import app
from persistill.run_folder import RunFolder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    view = RunFolder.create(root, "view", "v", {})
    view.file("train.npy").write_bytes(b"numbers")
    view.finish({"answer": 42})
    student = RunFolder.create(root, "student", "a", {"view": view.key})
    student.file("model.safetensors").write_bytes(b"weights")
    student.log(step=1)
    student.finish({"answer": 43}, {view.path.name: view.digest()})
    return root


def of(root: Path, kind: str) -> RunFolder:
    return run_folder.find(root, lambda folder: folder.kind == kind)[0]


def verify(*places: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", *map(str, places)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_what_is_whole_is_said_to_be(runs: Path) -> None:
    RunFolder.create(runs, "student", "open", {})
    code, said = verify(runs)
    assert code == 0
    assert "3 run folders, 2 of them finished: nothing is damaged." in said
    assert "not finished" in said
    assert verify(of(runs, "view").path)[0] == 0


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes().swapcase())


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "missing"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "damaged"),
    "changed": (rewrite, "damaged"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_every_damaged_file_is_named(how: str, runs: Path) -> None:
    damage, word = DAMAGE[how]
    for kind in ("view", "student"):
        for file in sorted(of(runs, kind).path.iterdir()):
            copy = Path(shutil.copytree(runs, runs.parent / "copy"))
            damage(copy / file.relative_to(runs))
            code, said = verify(copy)
            assert code == 1, file
            at_all = file.name in ("files.json", "run.json")  # without these, what was left is not known
            assert any(file.name in line and (at_all or word in line) for line in said.splitlines()), said
            assert "Run the recipe again" in said
            shutil.rmtree(copy)


def test_extra_files_are_named_and_damage_nothing(runs: Path) -> None:
    of(runs, "view").file("notes.txt").write_text("mine")
    code, said = verify(runs)
    assert code == 0
    assert "notes.txt: extra" in said


def test_what_was_made_of_something_else_is_named(runs: Path) -> None:
    view = of(runs, "view")
    view.file("train.npy").write_bytes(b"others")
    view.finish({"answer": 42})
    code, said = verify(runs)
    assert code == 1
    assert f"made of what {view.path.name} held before" in said


def test_a_folder_of_no_runs_is_a_users_mistake(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none"):
        result = CliRunner().invoke(app, ["verify", str(place)])
        assert "as --out" in str(result.exception) or "is no folder" in str(result.exception)
