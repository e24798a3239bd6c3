import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistill import run_folder
from persistill.errors import UserError
from persistill.run_folder import RunFolder
from persistill.utils import atomic_io

INPUTS = {"lr": 0.1, "seed": 3, "shape": (3, 32, 32)}


def test_a_folder_is_found_again_by_its_inputs(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, "student", "tgd-seed0", INPUTS)
    first.log(type="step", loss=1.0)
    again = RunFolder.create(tmp_path, "student", "tgd-seed0", INPUTS)
    assert again.path == first.path
    assert again.records() == [{"type": "step", "loss": 1.0}]
    assert not again.complete


def test_other_inputs_make_another_folder(tmp_path: Path) -> None:
    folders = {
        RunFolder.create(tmp_path, kind, name, inputs).path
        for kind, name, inputs in [
            ("student", "a", INPUTS),
            ("student", "b", INPUTS),
            ("teacher", "a", INPUTS),
            ("student", "a", {**INPUTS, "seed": 4}),
        ]
    }
    assert len(folders) == 4


def test_the_key_does_not_depend_on_the_order_of_the_inputs() -> None:
    assert run_folder.key_of("view", {"a": 1, "b": 2}) == run_folder.key_of("view", {"b": 2, "a": 1})


def test_a_folder_written_by_another_recipe_is_refused_and_kept(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "student", "a", INPUTS)
    about = json.loads((folder.path / "run.json").read_text())
    about["inputs"]["lr"] = 0.2
    (folder.path / "run.json").write_text(json.dumps(about))
    before = (folder.path / "run.json").read_bytes()
    with pytest.raises(UserError, match=r"written by another recipe.*Nothing was changed"):
        RunFolder.create(tmp_path, "student", "a", INPUTS)
    assert (folder.path / "run.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"format": 99, "kind": "student"}', '{"format": 1}'])
def test_a_run_json_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json"):
        RunFolder.open(tmp_path)


def test_what_is_no_run_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(tmp_path)


def test_a_result_is_read_back_and_completes_the_folder(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "preparation", "surrogate", {})
    with pytest.raises(UserError, match="is not complete"):
        folder.result()
    folder.finish({"mean": (0.5, 0.25), "worst": math.nan})
    assert folder.complete
    assert folder.result() == {"mean": [0.5, 0.25], "worst": None}


def test_a_log_line_cut_short_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "student", "a", INPUTS)
    folder.log(step=1)
    with folder.file("log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert folder.records() == [{"step": 1}]


def test_the_log_goes_back_to_a_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "student", "a", INPUTS)
    folder.log(step=1)
    size = folder.log_size()
    folder.log(step=2)
    folder.cut_log(size)
    folder.log(step=3)
    assert [record["step"] for record in folder.records()] == [1, 3]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space"), atomic_io.atomic(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise OSError(28, os.strerror(28))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "student", "a", INPUTS)
    with atomic_io.atomic(folder.file("model.safetensors")) as temporary:
        left = temporary.parent
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half a network")
    (left / ".tmpA1b2C3").write_bytes(b"half of what a library writes beside it")
    folder.file(run_folder.CHECKPOINT).write_bytes(b"where to go on")
    own = folder.file(".note.original")
    own.write_bytes(b"of somebody else")
    folder.sweep()
    assert not left.exists()
    assert own.exists()
    assert folder.file(run_folder.CHECKPOINT).exists()
    folder.finish({})
    folder.sweep()
    assert not folder.file(run_folder.CHECKPOINT).exists()


KILLED_WHILE_SAVING = """
import resource, signal, sys
from pathlib import Path
import numpy
from safetensors.numpy import save_file
from persistill.utils.atomic_io import atomic

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # who writes on gets SIGXFSZ, which ends it like SIGKILL
with atomic(Path(sys.argv[1])) as temporary:
    save_file({"weights": numpy.zeros(10_000)}, temporary)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
def test_what_safetensors_leaves_when_it_is_killed_is_swept(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "student", "a", INPUTS)
    before = set(folder.path.iterdir())
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(folder.file("model.safetensors"))]
    killed = subprocess.run(command, check=False)
    assert killed.returncode == -signal.SIGXFSZ
    assert set(folder.path.iterdir()) > before
    folder.sweep()
    assert set(folder.path.iterdir()) == before


def test_folders_are_listed_oldest_first(tmp_path: Path) -> None:
    made = [RunFolder.create(tmp_path, "student", name, {}) for name in "cab"]
    assert [folder.name for folder in run_folder.find(tmp_path)] == [folder.name for folder in made]
    assert [folder.name for folder in run_folder.find(tmp_path, lambda folder: folder.name == "a")] == ["a"]


def test_context_is_kept_and_does_not_change_the_key(tmp_path: Path) -> None:
    first = RunFolder.create(tmp_path, "student", "a", INPUTS, {"source": "here"})
    again = RunFolder.create(tmp_path, "student", "a", INPUTS, {"source": "there"})
    assert again.path == first.path
    assert again.about["context"] == {"source": "here"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_fingerprints_are_twelve_digits_and_survive_json(value: object) -> None:
    found = run_folder.fingerprint(value)
    assert len(found) == 12
    assert found == run_folder.fingerprint(json.loads(json.dumps(value)))


def test_folders_that_cannot_be_read_are_set_apart(tmp_path: Path) -> None:
    good = RunFolder.create(tmp_path, "student", "a", INPUTS)
    about = json.loads((good.path / "run.json").read_text())
    for name, content in {
        "older": json.dumps({**about, "format": 1}),
        "cut": json.dumps(about)[:40],
        "without inputs": json.dumps({key: value for key, value in about.items() if key != "inputs"}),
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    (tmp_path / "something else").mkdir()
    readable, others = run_folder.scan(tmp_path)
    assert [folder.path for folder in readable] == [good.path]
    assert [path.name for path in others] == ["cut", "older", "without inputs"]
    assert [folder.path for folder in run_folder.find(tmp_path)] == [good.path]
    assert run_folder.scan(tmp_path / "nowhere") == ([], [])
