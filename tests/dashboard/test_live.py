"""What the page says of run folders is what lies in them."""

import subprocess
import sys
import time

import pytest
from asking import epoch

from persistill import run_folder
from persistill.dashboard import Live
from persistill.errors import UserError
from persistill.run_folder import RunFolder


def test_curves_are_epochs_and_then_the_steps_of_the_open_one(runs, student):
    found = Live(runs).curves(student.path.name)
    assert found["validation"] == {"name": "accuracy", "step": [10, 20], "epoch": [1, 2], "percent": [25.0, 50.0]}
    assert found["steps"] == 50
    assert found["terms"] == {
        "loss": {"step": [10, 20, 25], "value": [2.5, None, 1.75]},
        "ce": {"step": [10, 20, 25], "value": [2.0, 1.5, 1.25]},
        "kd": {"step": [10, 20, 25], "value": [0.5, None, 0.5]},
    }


def test_states(runs, student):
    live = Live(runs)
    with run_folder.locked(student.path):
        (run,) = live.overview()["runs"]
    assert (run["state"], run["progress"], run["figure"]) == ("at work", "epoch 2 of 5", "accuracy 50.00 %")
    # However fresh its files are: whoever wrote them has ended.
    assert live.overview()["runs"][0]["state"] == "not finished"
    (run,) = live.overview(now=time.time() + 3600)["runs"]
    assert run["state"] == "not finished"
    assert run["age"] == pytest.approx(3600, abs=60)
    student.finish({"epochs": 5})
    (run,) = live.overview(now=time.time() + 3600)["runs"]
    assert run["state"] == "finished"


def test_what_is_written_meanwhile_is_seen(runs, student):
    live = Live(runs)
    before = live.overview()["runs"][0]
    assert live.overview()["runs"][0]["version"] == before["version"]
    student.log(**epoch(3, 0.75, ce=1.0, kd=0.25))
    after = live.overview()["runs"][0]
    assert after["version"] != before["version"]
    assert (after["progress"], after["figure"]) == ("epoch 3 of 5", "accuracy 75.00 %")
    assert live.curves(student.path.name)["terms"]["ce"]["step"] == [10, 20, 30]
    RunFolder.create(runs, "teacher", "image", {})
    assert {run["kind"] for run in live.overview()["runs"]} == {"student", "teacher"}


def test_folders_that_cannot_be_read_are_named_and_hide_nothing(runs, student):
    for name, text in (("half", "{"), ("old", '{"format": 0}'), ("bare", '{"format": 1, "kind": "student"}')):
        (runs / name).mkdir()
        (runs / name / "run.json").write_text(text)
    seen = Live(runs).overview()
    assert [run["name"] for run in seen["runs"]] == ["tgd-seed0"]
    assert sorted(problem.split()[0] for problem in seen["problems"]) == ["bare", "half", "old"]


def test_a_root_that_is_not_there_yet(tmp_path):
    assert Live(tmp_path / "none").overview()["there"] is False


def test_a_training_without_an_epoch(runs):
    folder = RunFolder.create(runs, "student", "new", {})
    live = Live(runs)
    assert live.overview()["runs"][0]["progress"] == ""
    assert live.curves(folder.path.name) == {
        "folder": folder.path.name,
        "validation": {"name": "accuracy", "step": [], "epoch": [], "percent": []},
        "terms": {},
        "steps": None,
    }


def test_only_folders_of_the_right_kind_are_given(runs, student):
    live = Live(runs)
    with pytest.raises(UserError, match="is a student, and no comparison"):
        live.report(student.path.name)
    folder = RunFolder.create(runs, "comparison", "c", {})
    with pytest.raises(UserError, match="is a comparison, and no student or teacher"):
        live.curves(folder.path.name)
    with pytest.raises(UserError, match="holds no report"):
        live.report(folder.path.name)


def test_a_report_that_leads_outside_is_not_given(runs, tmp_path):
    (tmp_path / "secret.html").write_text("secret")
    folder = RunFolder.create(runs, "comparison", "c", {})
    folder.file("report.html").symlink_to(tmp_path / "secret.html")
    with pytest.raises(UserError, match="holds no report"):
        Live(runs).report(folder.path.name)


def test_watching_needs_no_torch():
    code = "import sys, persistill.dashboard; print(sorted({'torch', 'numba', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
