"""A finished stage is not believed for its done.json alone: its files must be those that it left."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from kill_harness import Kills
from safetensors.torch import load_file, save_file
from tiny_recipe import RECIPE

from persistill.config import Evaluate
from persistill.errors import UserError
from persistill.inference import load
from persistill.pipeline import Pipeline
from persistill.pipeline.network_stage import WEIGHTS
from persistill.pipeline.standalone import evaluate_network, export_network
from persistill.run_folder import DamagedRunError, Kind, RunFolder, find
from persistill.utils.progress import Silent

REWRITTEN = {"report.html"}


class Told(Silent):
    """Keeps what a run says of its stages."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def finish(self, note: str = "") -> None:
        self.notes.append(note)


def run(root: Path) -> list[str]:
    told = Told()
    Pipeline(RECIPE, root, device="cpu", progress=told, command="persistill run tiny").run()
    return [note for note in told.notes if "Moved to" in note]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def finished(kills: Kills) -> Path:
    return kills.reference


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def of_kind(root: Path, kind: str) -> RunFolder:
    return find(root, lambda folder: folder.kind == kind)[0]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


def test_every_file_of_every_kind_of_folder_is_watched(finished: Path, tmp_path: Path) -> None:
    kinds, watched = set(), 0
    for folder in find(finished):
        kinds.add(folder.kind)
        folder.verify()
        for file in sorted(folder.path.rglob("*")):
            inside = file.relative_to(folder.path)
            if not file.is_file() or inside.parts[0] in {*REWRITTEN, "tensorboard"}:
                continue
            for name, damage in DAMAGE.items():
                copy = RunFolder(Path(shutil.copytree(folder.path, tmp_path / "copy")), folder.about)
                damage(copy.path / inside)
                if inside.name == "done.json" and name == "gone":
                    assert not copy.complete
                else:
                    with pytest.raises(DamagedRunError, match="Run its recipe again"):
                        copy.verify()
                shutil.rmtree(copy.path)
                watched += 1
    assert kinds == set(get_args(Kind))
    assert watched > 100


def test_a_damaged_stage_is_named_moved_aside_and_computed_again(runs: Path) -> None:
    student = of_kind(runs, "student")
    before = {name: value.clone() for name, value in load_file(student.file(WEIGHTS)).items()}
    flip(student.file(WEIGHTS))
    (note,) = run(runs)
    assert WEIGHTS in note
    assert "content was changed" in note
    assert (runs / ".damaged" / f"{student.path.name}-1" / WEIGHTS).is_file()
    after = load_file(student.file(WEIGHTS))
    assert all((before[name] == after[name]).all() for name in before)
    assert run(runs) == []


def test_what_was_made_of_other_weights_is_made_again(runs: Path) -> None:
    teacher = of_kind(runs, "teacher")
    weights = load_file(teacher.file(WEIGHTS))
    moved = {name: value + 0.01 if value.is_floating_point() else value for name, value in weights.items()}
    done = teacher.result()
    from safetensors import safe_open

    with safe_open(teacher.file(WEIGHTS), "pt") as file:
        header = file.metadata()
    save_file(moved, teacher.file(WEIGHTS), header)
    teacher.finish(done, teacher.built_on())  # as if it had been trained elsewhere, with other sums
    notes = run(runs)
    assert all("has changed since" in note for note in notes)
    told = " ".join(notes)
    made_of_it = ("features", "student", "choice", "evaluation", "export", "comparison")
    assert all(f"/.damaged/{kind}-" in told for kind in made_of_it)
    assert "/.damaged/view-" not in told
    assert "/.damaged/cost-" not in told


def test_nobody_measures_or_exports_a_damaged_network(runs: Path) -> None:
    student = of_kind(runs, "student")
    flip(student.file(WEIGHTS))
    with pytest.raises(UserError, match=WEIGHTS):
        evaluate_network(student.path, Evaluate(), "cpu", Silent())
    with pytest.raises(UserError, match=WEIGHTS):
        export_network(student.path, runs / "exported", Silent())


@pytest.mark.parametrize(("kind", "file"), [("student", WEIGHTS), ("export", WEIGHTS), ("export", "model.onnx")])
def test_nobody_asks_a_damaged_network(kind: str, file: str, runs: Path) -> None:
    folder = of_kind(runs, kind)
    assert load(folder.file(file)).classes
    flip(folder.file(file))
    with pytest.raises(UserError, match=file):
        load(folder.file(file))
