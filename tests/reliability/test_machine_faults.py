"""A machine that fails: a full disk, one that cannot be written to, a folder that vanishes, memory that runs out."""

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_harness import Kills
from runs_equal import differences

KINDS = ["view", "teacher", "features", "preparation", "student", "evaluation", "quantized", "export", "comparison"]
"""Of stages that write more than a page."""


def mounted(place: Path, size: str) -> Iterator[Path]:
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "4m")


def prepared(kills: Kills, kind: str, place: Path) -> tuple[Path, str]:
    """All that a stage depends on, finished, at a place of its own."""
    job = kills.of_kind(kind)[-1]
    out = kills.prepared(job, "fault")
    shutil.copytree(out, place, dirs_exist_ok=True)
    shutil.rmtree(out)
    return place, job.folder


def fill(place: Path) -> Path:
    """A file that takes all that is free."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


def run(kills: Kills, out: Path, folder: str, **limits: Any) -> dict[str, Any]:
    (told,) = kills.server.ask(out, stages=[folder], limits=limits)
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_named_and_costs_nothing_that_was_finished(kind: str, kills: Kills, small_disk: Path) -> None:
    out, folder = prepared(kills, kind, small_disk / "runs")
    ballast = fill(small_disk)
    told = run(kills, out, folder)
    assert told["status"] == 2, told
    assert "No space left" in told["said"], told
    assert not (out / folder / "done.json").exists()
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    kills.server.finish(out, stages=[folder])
    assert differences(kills.reference / folder, out / folder) == []


@pytest.mark.parametrize("kind", ["view", "teacher", "features", "preparation", "evaluation"])
def test_a_file_that_cannot_grow_is_named_and_nothing_is_half_written(kind: str, kills: Kills, tmp_path: Path) -> None:
    out, folder = prepared(kills, kind, tmp_path / "runs")
    told = run(kills, out, folder, RLIMIT_FSIZE=2000)
    assert told["status"] == 2, told
    assert "File too large" in told["said"], told
    kills.server.finish(out, stages=[folder])
    assert differences(kills.reference / folder, out / folder) == []


def test_what_cannot_be_written_to_is_named(kills: Kills, small_disk: Path) -> None:
    out, folder = prepared(kills, "view", small_disk / "runs")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    told = run(kills, out, folder)
    assert told["status"] == 2, told
    assert "Read-only file system" in told["said"], told


def test_a_folder_that_vanishes_is_named_and_made_again(kills: Kills, tmp_path: Path) -> None:
    out, folder = prepared(kills, "student", tmp_path / "runs")
    vanished = threading.Event()

    def vanish() -> None:
        while not vanished.is_set():
            if (out / folder / "log.jsonl").exists():
                shutil.rmtree(out / folder, ignore_errors=True)
                vanished.set()
            time.sleep(0.001)

    thread = threading.Thread(target=vanish)
    thread.start()
    told = run(kills, out, folder)
    vanished.set()
    thread.join()
    assert told["status"] == 2, told
    assert "No such file or directory" in told["said"], told
    assert folder in told["said"], told
    kills.server.finish(out, stages=[folder])
    assert differences(kills.reference / folder, out / folder) == []


def test_memory_that_runs_out_is_named_with_what_to_lower(kills: Kills, tmp_path: Path) -> None:
    out, folder = prepared(kills, "student", tmp_path / "runs")
    told = run(kills, out, folder, RLIMIT_AS=1)
    assert told["status"] == 2, told
    assert "memory" in told["said"], told
    assert "train.batch_size" in told["said"], told
    kills.server.finish(out, stages=[folder])
    assert differences(kills.reference / folder, out / folder) == []
