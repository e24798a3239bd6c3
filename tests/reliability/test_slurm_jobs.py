"""Stages as jobs that submitit starts: on this machine, and by a stand-in for SLURM's commands."""

import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs_equal import differences
from small_walks import (
    RECIPE,
    epochs_logged,
    require_message_of_a_mistake,
    require_stop_of_what_is_taken_back,
    walk_of,
)

from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.pipeline.executors import local
from persistill.pipeline.executors.slurm import SlurmJobs
from persistill.pipeline.executors.walk import Task
from persistill.run_folder import RunFolder
from persistill.utils.progress import Silent


class Shown(Silent):
    """Keeps what is told beside bars."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def beside(self) -> "Shown":
        return self

    def start(self, stage: str, total: int, done: int = 0) -> None:
        self.calls.append((stage, total, done))

    def advance(self, units: int, note: str = "", values: object = None) -> None:
        self.calls.append((units, note))


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmJobs]:
    submitit = pytest.importorskip("submitit", reason="submitit is an extra: pip install persistill[slurm]")
    monkeypatch.setenv("PERSISTILL_SLURM_CLUSTER", "local")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 0)
    with SlurmJobs(2, "cpu") as started:
        yield started


def children(pid: int) -> list[int]:
    """Numbers of the processes that one has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_results_are_those_of_one_process_though_a_job_is_killed(jobs: SlurmJobs, tmp_path: Path) -> None:
    alone = Pipeline(RECIPE.with_value("train.epochs", 12), tmp_path / "one", device="cpu")
    stage = alone.graph.students["alone", 0]
    local.run([stage], alone.context)
    shown = Shown()
    together = Pipeline(alone.recipe, tmp_path / "two", device="cpu", progress=shown)
    killed: list[int] = []

    def watch() -> None:
        for job in jobs.at_work.values():
            if not killed and epochs_logged(tmp_path / "two"):
                killed.extend(children(int(job.job_id)))
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)

    jobs.run(walk_of(together, together.stage(stage.folder_name)), watch)
    assert killed
    assert differences(tmp_path / "one" / stage.folder_name, tmp_path / "two" / stage.folder_name) == []
    assert ("student alone-seed0", 12, 0) in shown.calls
    assert any(str(note).endswith("/12") for _, note, *_ in shown.calls)


def test_a_job_that_is_taken_back_is_stopped(jobs: SlurmJobs, tmp_path: Path) -> None:
    require_stop_of_what_is_taken_back(jobs, tmp_path)


def test_a_mistake_of_the_user_ends_the_run_with_its_message(jobs: SlurmJobs, tmp_path: Path) -> None:
    require_message_of_a_mistake(jobs, tmp_path)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with SLURM's commands: sbatch notes its script and gives a number, and all jobs fail."""
    pytest.importorskip("submitit", reason="submitit is an extra: pip install persistill[slurm]")
    folder = tmp_path / "commands"
    folder.mkdir()
    for name, text in {
        "sbatch": f'cp "$1" "{folder}/script"; echo x >> "{folder}/submitted"; echo "Submitted batch job 7"',
        "srun": "",
        "scancel": "",
        "sacct": 'echo "JobID|State|NodeList"; echo "7|FAILED|node1"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_what_a_job_asks_for_and_what_is_said_where_all_are_lost(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import submitit

    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    monkeypatch.setattr("persistill.pipeline.executors.slurm._LOOK", 0.0)
    pipeline = Pipeline(RECIPE, tmp_path / "runs", device="cpu")
    teacher = pipeline.graph.teachers["image"]
    with (
        SlurmJobs(None, "cpu", memory=3 * 2**30 + 1) as jobs,
        pytest.raises(UserError, match=rf"{teacher.folder_name}.*3 jobs .* were lost.*FAILED.*SBATCH_TIMELIMIT"),
    ):
        jobs.run(walk_of(pipeline, teacher))
    script = (commands / "script").read_text()
    assert "--mem=3073M" in script
    assert "--cpus-per-task=1" in script
    assert "--job-name=persistill-teacher-image" in script
    assert "--time=1440" in script
    assert "gpus" not in script
    assert (commands / "submitted").read_text().count("x") == 3


def test_where_there_is_no_slurm_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Path) -> None:
    pipeline = Pipeline(RECIPE, tmp_path / "runs", device="cpu")
    walk = walk_of(pipeline, pipeline.graph.teachers["image"])
    (commands / "sbatch").write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"did not take a job.*SBATCH_PARTITION"), SlurmJobs(1, "cpu") as jobs:
        jobs.run(walk)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"no SLURM here.*sbatch and srun"), SlurmJobs(1, "cpu") as jobs:
        jobs.run(walk)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install \"persistill\[slurm\]\""):
        SlurmJobs()


def test_jobs_that_get_further_are_not_counted(commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import submitit

    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    monkeypatch.setattr("persistill.pipeline.executors.slurm._LOOK", 0.0)
    pipeline = Pipeline(RECIPE, tmp_path / "runs", device="cpu")
    teacher = pipeline.graph.teachers["image"]
    folder = RunFolder.create(pipeline.out, "teacher", teacher.name, teacher.inputs)
    begin, begun = SlurmJobs._begin, list[Task]()

    def begin_and_log(jobs: SlurmJobs, task: Task) -> object:
        begun.append(task)
        if len(begun) <= 3:
            folder.log(type="epoch", epoch=len(begun))
        return begin(jobs, task)

    monkeypatch.setattr(SlurmJobs, "_begin", begin_and_log)
    with SlurmJobs(None, "cpu") as jobs, pytest.raises(UserError, match="none got further"):
        jobs.run(walk_of(pipeline, teacher))
    assert len(begun) == 3 + 2


def test_a_canceled_job_of_which_slurm_tells_nothing_is_not_waited_for(
    commands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (commands / "sacct").write_text("#!/bin/sh\necho accounting is disabled >&2\nexit 1\n")
    (commands / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 8\n")  # submitit remembers other jobs
    monkeypatch.setattr("persistill.pipeline.executors.slurm._GRACE", 0.3)
    pipeline = Pipeline(RECIPE, tmp_path / "runs", device="cpu")
    walk = walk_of(pipeline, pipeline.graph.teachers["image"])
    with SlurmJobs(None, "cpu") as jobs:
        jobs.run(walk, lambda: walk.keep([]) if jobs.at_work else None)
        assert not jobs.at_work
    walk = walk_of(pipeline, pipeline.graph.teachers["image"])

    def stop() -> None:
        if jobs.at_work:
            raise KeyboardInterrupt

    with SlurmJobs(None, "cpu") as jobs, pytest.raises(KeyboardInterrupt):
        jobs.run(walk, stop)
