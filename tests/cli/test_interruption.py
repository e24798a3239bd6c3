"""Ctrl-C on a real process, and the same command again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from persistill.cli import main; main()", "run", "kd_digits", "--device", "cpu"]
CHANGES = ["--set", "data.train=240", "--set", "data.test=60", "--set", "train.epochs=12", "--seeds", "0"]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    command = [*COMMAND, *CHANGES, "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not any('"epoch": 3' in log.read_text() for log in tmp_path.glob("teacher-*/log.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on where it stopped" in errors
    assert "Traceback" not in errors
    (checkpoint,) = tmp_path.glob("teacher-*/checkpoint.safetensors")
    assert not (checkpoint.parent / "done.json").exists()
    reached = len(_epochs(checkpoint.parent))

    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    assert again.returncode == 0, again.stderr
    assert "report.html" in again.stdout
    epochs = _epochs(checkpoint.parent)
    assert reached < 12
    assert [record["epoch"] for record in epochs] == list(range(1, 13))


def _epochs(folder: Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if record["type"] == "epoch"]
