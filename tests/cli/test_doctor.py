"""`persistill doctor` says what is there, and ends with 1 where something is wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from persistill.cli import doctor_checks
from persistill.cli.app import app
from persistill.topology import self_check as engine
from persistill.topology.self_check import self_check


def doctor(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_whole_installation_is_well(tmp_path: Path) -> None:
    code, said = doctor("--out", tmp_path / "runs")
    assert code == 0, said
    for word in ("Python", "torch", "numpy 2", "free below", "cores", "cache of kernels", "sublevel_persistence"):
        assert word in said
    assert said.rstrip().endswith("All is well.")
    assert not (tmp_path / "runs").exists()


def test_a_package_that_is_too_old_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks.metadata, "requires", lambda _: ["numpy>=99", "no-such-package>=1", "rich"])
    found = list(doctor_checks.versions())
    assert [one.state for one in found] == ["ok", "ok", "ok", "bad"]
    assert "numpy is 2" in found[-1].words
    assert ">=99 is needed; no-such-package is not installed. Install persistill again." in found[-1].words


def test_an_extra_that_is_missing_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_checks.metadata, "requires", lambda _: ['no-such-package>=1; extra == "onnx"'])
    found = {one.what: one for one in doctor_checks.extras()}
    assert found["onnx"].state == "note"
    assert found["onnx"].words == 'without no-such-package: pip install "persistill[onnx]"'


def test_a_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = doctor_checks.shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda _: usage)
    (runs, _) = doctor_checks.places(tmp_path / "a" / "b")
    assert runs.state == "bad"
    assert "make room" in runs.words


def test_an_engine_that_computes_something_else_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = engine.mst_lengths
    monkeypatch.setattr(engine, "mst_lengths", lambda points: right(points) * np.float32(1.01))
    monkeypatch.setattr(engine, "bottleneck", lambda *_: 1 / 0)
    found = {check.function: check.problem for check in self_check()}
    assert found["mst_lengths"] == "input 1 gives something else than the definition says"
    assert found["bottleneck"] == "ZeroDivisionError: division by zero"
    assert found["cubical_persistence"] is None
    code, said = doctor()
    assert code == 1
    assert "2 of these are wrong." in said


def test_what_needs_no_torch_does_not_import_it() -> None:
    code = "import sys, persistill.cli.doctor, persistill.cli.doctor_checks; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
