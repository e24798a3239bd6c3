"""--devices: real processes that train together, stop together, and end with one of them."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shared_stages import content, worked

from persistill.api import recipe_files
from persistill.cli import entry_point, launch
from persistill.cli.distill import distill
from persistill.cli.machine import Machine, find_machine
from persistill.cli.sweep import sweep
from persistill.errors import RankLostError, UserError
from persistill.pipeline import Pipeline
from persistill.run_folder import RunFolder
from persistill.tasks import Classification
from persistill.training.process_group import own_device
from persistill.utils.process_place import Place
from persistill.utils.thread_count import computing_with

RECIPE = """
from persistill.config import Arm, Data, Model, Recipe, Train
recipe = Recipe(
    name="alone", data=Data(source="digits", train=120, test=30), student=Model(name="resnet-8"), arms={"alone": Arm()},
    train=Train(epochs=200, schedule="constant", lr=0.01, batch_size=33), seeds=(0,),
)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def started(root: Path, *options: str, command: str = "run alone.py") -> subprocess.Popen:
    (root / "alone.py").write_text(RECIPE)
    command = [sys.executable, "-m", "persistill", *command.split(), "--device", "cpu", "--out", "runs", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    return subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_epochs(process: subprocess.Popen, root: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while not any(log.read_text().count('"type": "epoch"') >= count for log in root.glob("runs/*/log.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rank_of(process: subprocess.Popen, rank: int) -> int:
    """The number of a process that a command started."""
    for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
                return int(child)
    raise AssertionError(f"no process of rank {rank}")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="asks /proc who was started")
def test_processes_end_with_one_that_is_lost_and_stop_with_a_signal_and_go_on(tmp_path: Path) -> None:
    process = started(tmp_path, "--devices", "2")
    wait_for_epochs(process, tmp_path, 2)
    os.kill(rank_of(process, 1), signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert errors.count("Error: process 2 of 2 was ended by SIGKILL. What was finished is whole; run the same") == 1
    assert errors.count("Error") == 1
    assert process.returncode == 2
    (log,) = tmp_path.glob("runs/*/log.jsonl")
    reached = log.read_text().count('"type": "epoch"')

    process = started(tmp_path, "--devices", "2")
    wait_for_epochs(process, tmp_path, reached + 2)
    os.kill(rank_of(process, 1), signal.SIGTERM)  # to any of them, or to the command
    _, errors = process.communicate(timeout=300)
    assert errors.count("Stopped by SIGTERM. Run the same command again, and it goes on where it stopped.\n") == 1
    assert "Error" not in errors
    assert process.returncode == 143
    assert log.with_name("checkpoint.safetensors").is_file()

    reached = log.read_text().count('"type": "epoch"')
    process = started(tmp_path)
    wait_for_epochs(process, tmp_path, reached + 1)
    process.terminate()
    process.communicate(timeout=300)
    assert process.returncode == 143
    epochs = [line.split('"epoch": ')[1].split(",")[0] for line in log.read_text().splitlines() if '"epoch"}' in line]
    assert epochs == sorted(set(epochs), key=int)


def test_evaluation_and_validation_by_two_processes_are_those_of_one(tmp_path: Path) -> None:
    changes = {"train.epochs": "2", "evaluate.corruptions": "contrast", "evaluate.batch_size": "8", "formats": "()"}
    options = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    process = started(tmp_path, *options, "--devices", "2")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    (student,) = (RunFolder.open(path) for path in tmp_path.glob("runs/student-*"))
    (evaluation,) = (RunFolder.open(path) for path in tmp_path.glob("runs/evaluation-*"))
    with np.load(evaluation.file("predictions.npz")) as predictions:
        logits, target = (torch.from_numpy(predictions[f"validation_{name}"]) for name in ("logits", "target"))
    assert student.result()["validation"] == Classification().validate({"logits": logits, "target": target})

    recipe = recipe_files.read(str(tmp_path / "alone.py"), changes)
    pipeline = Pipeline(recipe, tmp_path / "runs", device="cpu")
    (stage,) = pipeline.graph.evaluations.values()
    with computing_with(1):
        alone, _ = worked(pipeline.context, stage, 1, tmp_path / "alone")
    assert content(alone.path) == content(evaluation.path)


def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    process = started(tmp_path, "--devices", "2", "--set", "train.batch_size=500")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors
    assert errors.count("no batch would be filled") == 1
    assert "Traceback" not in output + errors


def test_a_process_that_does_not_hear_a_signal_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_PATIENCE", 0.2)
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"]) as deaf,
        subprocess.Popen([sys.executable, "-c", ""]) as ended,
    ):
        launch._await_ends([deaf, ended])
        assert (deaf.poll(), ended.returncode) == (None, 0)
        deaf.kill()
        launch._await_ends([deaf, ended])
        assert deaf.returncode == -signal.SIGKILL


def test_a_process_that_ends_behind_one_at_work_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one ends while it imports, and the others wait for it to begin."""
    monkeypatch.setattr(launch, "_GRACE", 0.1)
    begun = time.monotonic()

    @contextlib.contextmanager
    def processes(machine: Machine, arguments: list[str], folder: Path) -> Iterator[list[subprocess.Popen]]:
        (folder / "1").write_text("a mistake")
        codes = ("import time; time.sleep(100)", "import sys; sys.exit(3)")
        found = [subprocess.Popen([sys.executable, "-c", code]) for code in codes]
        try:
            yield found
        finally:
            found[0].kill()
            found[0].wait()

    monkeypatch.setattr(launch, "_started", processes)
    with pytest.raises(SystemExit) as left:
        launch._launch(Machine(2, 1, 0, "127.0.0.1", 29500), [])
    assert left.value.code == 3
    assert time.monotonic() - begun < 60


def test_where_all_have_lost_the_others_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise RankLostError("they did not find each other (no interface lo)\nframe #0")

    monkeypatch.setattr(entry_point, "app", lose)
    monkeypatch.setattr(launch, "end_with_launcher", lambda: None)
    monkeypatch.setenv(launch._LAUNCHER, "99")
    monkeypatch.setenv(launch._LAST_WORD, str(tmp_path / "0.lost"))
    with pytest.raises(SystemExit) as left:
        entry_point.main(["run", "kd_digits"])
    assert left.value.code == launch.LOST
    assert capsys.readouterr().err == ""
    ended = [SimpleNamespace(returncode=launch.LOST)] * 2
    with pytest.raises(UserError, match=r"process 3 of 4 lost the others \(they did not find each other \(no int"):
        launch._tell([0, 1], ended, tmp_path, Machine(2, 2, 1, "node1", 29500))


def test_windows_is_refused_before_anything_is_started() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "name", "nt")
        with pytest.raises(UserError, match="--devices and --nodes need Linux or macOS"):
            launch.in_processes(2)


def test_devices_are_those_that_torchrun_started(monkeypatch: pytest.MonkeyPatch) -> None:
    launch.in_processes(None)
    launch.in_processes(1)
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "there")
    launch.in_processes(None)
    launch.in_processes(2)
    launch.in_processes(2, 2)
    with pytest.raises(UserError, match=r"--devices 4 was given to a command that was started as 4 processes, 2 on"):
        launch.in_processes(4)
    for given, said in (
        ((4, None, None), "--nodes 4"),
        ((2, 0, None), "--nodes 2 --node-rank 0"),
        ((None, 0, None), "--node-rank 0"),
    ):
        with pytest.raises(UserError, match=rf"^{said} was given to a command that was started as 4 processes"):
            launch.in_processes(None, *given)


def test_machines_are_told_apart_and_know_where_they_meet() -> None:
    assert find_machine(8, 2, 1, "[::1]:29500") == Machine(8, 2, 1, "::1", 29500)
    assert (find_machine(8, 2, 1, "node1:29500").first, find_machine(8, 2, 1, "node1:29500").size) == (8, 16)
    for given, said in (
        ((2, 1, 1, None), "add --nodes N"),
        ((2, 1, None, "node1:29500"), "add --nodes N"),
        ((1, 2, None, "node1:29500"), "--node-rank 0 on the first to --node-rank 1 on the last"),
        ((1, 2, 0, None), "--rendezvous HOST:PORT"),
        ((1, 2, 2, "node1:29500"), "counted from 0 to 1"),
        ((1, 2, 0, "node1"), "is no address"),
        ((1, 2, 0, "node1:0"), "is no address"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            find_machine(*given)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="asks /proc who was started")
def test_two_machines_train_together_and_end_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")

    meet = f"--nodes=2 --rendezvous=127.0.0.1:{free_port()}".split()
    machines = [started(tmp_path, *meet, f"--node-rank={number}") for number in (0, 1)]
    wait_for_epochs(machines[0], tmp_path, 2)
    os.kill(rank_of(machines[1], 1), signal.SIGKILL)
    said = [machine.communicate(timeout=300)[1] for machine in machines]
    assert "process 2 of 2 was ended by SIGKILL" in said[1]
    assert "process 1 of 2 lost the others (another process of this run has ended" in said[0]
    assert [machine.returncode for machine in machines] == [2, 2]
    assert [errors.splitlines()[0] for errors in said] == [
        "machine 1 of 2 waits for the others",
        "machine 2 of 2 trains along with machine 1, which tells how it goes",
    ]


def test_a_process_that_waits_for_the_others_ends_with_the_command(tmp_path: Path) -> None:
    """Its wait is in compiled code, which hears no Python handler."""
    (tmp_path / "alone.py").write_text(RECIPE)
    reads, writes = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as meeting:
        place = {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "MASTER_PORT": meeting.getsockname()[1]}
        environment = {
            **os.environ,
            **{name: str(value) for name, value in place.items()},
            "MASTER_ADDR": "127.0.0.1",
            launch._LAUNCHER: str(reads),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        command = [sys.executable, "-m", "persistill", "run", "alone.py", "--device", "cpu"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, pass_fds=[reads]) as process:
            meeting.settimeout(300)
            asked, _ = meeting.accept()  # and never answered
            os.close(reads)
            os.close(writes)
            assert process.wait(30) == -signal.SIGTERM
            asked.close()


def test_a_distillation_is_planned_once_and_trained_by_all(tmp_path: Path) -> None:
    what = "--data digits --teacher resnet-8 --student resnet-8 --seeds 0 --set data.train=120 --set data.test=30"
    options = f"{what} --epochs 200 --batch-size 33 --devices 2 --quick".split()
    process = started(tmp_path, *options, command="distill")
    wait_for_epochs(process, tmp_path, 2)
    process.terminate()
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 143, errors
    assert output.count("In all about") == 1
    assert output.count("Each network is trained by 2 together") == 1


def test_processes_beside_one_that_only_plans_do_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = []
    ranks = SimpleNamespace(size=2, leads=False, from_leader=told.append)
    monkeypatch.setattr("persistill.training.process_group.join", lambda _: ranks)
    distill("digits", "resnet-8", "resnet-8", out=tmp_path, dry_run=True)
    assert told == [None]
    with pytest.raises(UserError, match="2 processes train together here, which goes with neither"):
        distill("digits", "resnet-8", "resnet-8", out=tmp_path, workers=2, dry_run=True)
    assert not any(tmp_path.iterdir())


def test_a_distillation_is_planned_for_a_device_that_each_process_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def planned(*_: object, device: str, **__: object) -> None:
        raise UserError(f"planned for {own_device(device, Place(1, 2, 1, 2, 'there', 1))}")

    ranks = SimpleNamespace(size=2, leads=True, device=torch.device("cuda:0"))
    monkeypatch.setattr("persistill.training.process_group.join", lambda _: ranks)
    monkeypatch.setattr("persistill.api.distillation.plan", planned)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "there", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match="planned for cuda:1"):
        distill("digits", "resnet-8", "resnet-8", out=str(tmp_path))


def test_sweeps_are_for_one_device_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--devices and --nodes are not for sweeps.*--workers N"):
        sweep("kd_digits", ["train.lr=log(0.01, 0.3)"], devices=2, out=tmp_path)
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "MASTER_ADDR": "there", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(
        UserError, match=r"one of 4 processes that torchrun or srun started, each for a sweep.*--workers"
    ):
        sweep("kd_digits", ["train.lr=log(0.01, 0.3)"], out=tmp_path)
