"""Stages that other processes work at, and processes that are lost."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs_equal import differences
from small_walks import LONG, RECIPE, epochs_logged, wait_for, walk_of

from persistill import run_folder
from persistill.api import recipe_files
from persistill.cli.entry_point import _own_place
from persistill.config import Train
from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.pipeline.executors import local, worker
from persistill.pipeline.executors.job import Job
from persistill.pipeline.executors.processes import Processes
from persistill.pipeline.executors.worker import Workplace
from persistill.utils.progress import Silent
from persistill.utils.remote_fault import RemoteFaultError, frames_of


class Told(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def finish(self, note: str = "") -> None:
        self.notes.append(note)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes(2) as executor:
        yield executor


def test_results_are_those_of_one_process_though_a_worker_is_killed(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError('not the module of this name')")
    monkeypatch.chdir(tmp_path)
    alone = Pipeline(RECIPE, tmp_path / "one", device="cpu")
    local.run([alone.graph.comparison], alone.context)

    together = Pipeline(RECIPE, tmp_path / "two", device="cpu")
    pids, most, beside_times = set[int](), [0], list[dict[str, int]]()

    def watch() -> None:
        at_work = processes.at_work
        pids.update(at_work.values())
        most[0] = max(most[0], len(at_work))
        if len(at_work) > 1 and any(name.startswith("cost-") for name in at_work):
            beside_times.append(at_work)
        students = [pid for name, pid in at_work.items() if name.startswith("student-alone-seed1")]
        if students and not killed:
            killed.append(students[0])
            os.kill(students[0], signal.SIGKILL)

    killed: list[int] = []
    processes.run(walk_of(together, together.graph.comparison), watch)
    assert len(killed) == 1
    assert len(pids) == 3
    assert most == [2]
    assert beside_times == []
    names = [stage.folder_name for stage in alone.graph.stages() if stage.kind != "export"]
    assert len(names) == 5 + 5 + 3
    assert [name for name in names if differences(tmp_path / "one" / name, tmp_path / "two" / name)] == []

    # All that is left is passed over; export and report follow.
    assert (together.run(processes).path / "report.html").is_file()


def test_a_mistake_of_the_user_ends_the_run_with_its_message(processes: Processes, tmp_path: Path) -> None:
    pipeline = Pipeline(RECIPE.with_value("arms.alone.train", Train(epochs=1, batch_size=20, lr=1e12)), tmp_path)
    with pytest.raises(UserError, match="persistill replay RECIPE"):
        processes.run(walk_of(pipeline, *pipeline.graph.students.values()))
    assert processes.at_work == {}
    assert not run_folder.at_work(tmp_path / pipeline.graph.students["alone", 0].folder_name)


OWN_LOSS = """
import threading
from typing import Any

from persistill.config import Arm, Data, Model, Recipe, Teacher, Train
from persistill.losses import KD


class OwnError(Exception):
    pass


class Broken(KD):
    lock: Any = None

    def terms(self, student, teachers, target):
        raise OwnError("it does not work")


def recipe(method):
    return Recipe(
        name="own",
        data=Data(source="digits", train=60, validation=20, test=20),
        teachers={"image": Teacher(model=Model(name="resnet-8"))},
        student=Model(name="resnet-8"),
        arms={"kd": Arm(methods=(method,), teachers=("image",))},
        train=Train(epochs=1, batch_size=20, schedule="constant"),
        seeds=(0,),
    )


recipes = {"broken": recipe(Broken()), "locked": recipe(Broken(lock=threading.Lock()))}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN_LOSS)
    return path


def test_a_fault_is_raised_here_and_names_the_place_there(processes: Processes, own: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(recipe_files.read(f"{own}:broken"), tmp_path, device="cpu")
    with pytest.raises(Exception, match="it does not work") as raised:
        processes.run(walk_of(pipeline, pipeline.graph.students["kd", 0]))
    assert type(raised.value).__name__ == "OwnError"
    assert isinstance(raised.value.__cause__, RemoteFaultError)
    assert "line 17, in terms" in str(raised.value.__cause__)
    assert _own_place(frames_of(raised.value)) == "the recipe's file, line 17, in terms"


def test_what_cannot_be_sent_is_said(processes: Processes, own: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(recipe_files.read(f"{own}:locked"), tmp_path, device="cpu")
    with pytest.raises(UserError, match=r"cannot be sent.*without --workers"):
        processes.run(walk_of(pipeline, pipeline.graph.teachers["image"]))


def test_a_machine_without_the_folder_of_the_command_works_too(tmp_path: Path) -> None:
    pipeline = Pipeline(RECIPE, tmp_path, device="cpu")
    teacher = pipeline.graph.teachers["image"]
    job = replace(Job.of(pipeline.context), folder=str(tmp_path / "of" / "another" / "machine"))
    outcome = Workplace("cpu", Silent()).work(job.packed(), teacher.folder_name)
    assert outcome.status == "done", outcome.said


def test_a_stage_that_is_taken_back_is_stopped_and_the_process_goes_on(processes: Processes, tmp_path: Path) -> None:
    pipeline, short = Pipeline(LONG, tmp_path, device="cpu"), Pipeline(RECIPE, tmp_path, device="cpu")
    student, pids = pipeline.graph.students["alone", 0], []
    walk = walk_of(pipeline, student)

    def watch() -> None:
        pids.extend(processes.at_work.values())
        if epochs_logged(tmp_path) and student.folder_name in walk:
            walk.keep([])
            walk.add([short.graph.students["alone", 0]], short.context)

    processes.run(walk, watch)
    assert not student.complete(pipeline.context)
    assert (tmp_path / student.folder_name / "checkpoint.safetensors").is_file()
    assert short.graph.students["alone", 0].complete(short.context)
    assert len(set(pids)) <= 2


def test_a_stage_that_is_taken_back_before_it_is_begun_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[tuple[bytes, str] | None] = [(b"job", "student"), None]
    killed: list[int] = []
    monkeypatch.setattr(worker.os, "kill", lambda _, signum: killed.append(signum))

    def recv() -> tuple[bytes, str] | None:
        if not messages:
            raise EOFError
        return messages.pop(0)

    inbox: queue.SimpleQueue[tuple[bytes, str] | None] = queue.SimpleQueue()
    worker._receive(SimpleNamespace(recv=recv), inbox, threading.Event())
    assert [inbox.get(), inbox.get()] == [(b"job", "student"), None]
    assert killed == [signal.SIGTERM] * 2


def test_a_stage_whose_processes_are_always_lost_is_named(processes: Processes, tmp_path: Path) -> None:
    pipeline = Pipeline(RECIPE, tmp_path, device="cpu")

    def watch() -> None:
        for pid in processes.at_work.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    teacher = pipeline.graph.teachers["image"]
    with pytest.raises(UserError, match=rf"{teacher.folder_name}.*SIGKILL, 3 times.*--workers"):
        processes.run(walk_of(pipeline, teacher), watch)


def test_a_stage_at_which_another_run_works_is_waited_for(processes: Processes, tmp_path: Path) -> None:
    told = Told()
    pipeline = Pipeline(RECIPE, tmp_path, device="cpu", progress=told)
    teacher = pipeline.graph.teachers["image"]
    with contextlib.ExitStack() as held:
        held.enter_context(run_folder.locked(tmp_path / teacher.folder_name))

        def watch() -> None:
            if any("another process" in note for note in told.notes):
                held.close()

        processes.run(walk_of(pipeline, teacher), watch)
    assert teacher.complete(pipeline.context)
    assert sum(teacher.folder_name in note for note in told.notes) == 1


def test_an_interrupted_run_leaves_checkpoints(processes: Processes, tmp_path: Path) -> None:
    pipeline = Pipeline(LONG, tmp_path, device="cpu")
    student = pipeline.graph.students["alone", 0]

    def watch() -> None:
        if epochs_logged(tmp_path):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        processes.run(walk_of(pipeline, student), watch)
    assert processes.at_work == {}
    assert not run_folder.at_work(tmp_path / student.folder_name)
    assert (tmp_path / student.folder_name / "checkpoint.safetensors").is_file()


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    code = "from persistill.cli import main; main()"
    command = [sys.executable, "-c", code, "run", "kd_digits", "--workers", "1", "--executor", "processes"]
    command += ["--device", "cpu", "--set", "train.epochs=10000", "--set", "data.train=128", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: epochs_logged(tmp_path, "teacher"))
        finally:
            process.kill()
        assert "Traceback" not in process.communicate(timeout=60)[1]
    (checkpoint,) = tmp_path.glob("*/checkpoint.safetensors")
    wait_for(lambda: not run_folder.at_work(checkpoint.parent), 30)
