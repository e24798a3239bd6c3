"""Stages as jobs of SLURM, through submitit."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self

from persistill.errors import UserError, first_line
from persistill.pipeline.context import Context
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.executors.remote_tasks import ATTEMPTS, RemoteTasks
from persistill.pipeline.executors.walk import Task
from persistill.pipeline.executors.worker import Workplace
from persistill.run_folder import RunFolder
from persistill.utils.progress import Silent
from persistill.utils.stop_signals import stop_at_once

CLUSTER_VARIABLE = "PERSISTILL_SLURM_CLUSTER"
"""The variable that names another kind of cluster that submitit knows: "local" has jobs run on this machine."""
FOLDER = ".slurm"
"""Beside the run folders: what jobs are handed, what they answer and print."""
_MOST = 16
"""Jobs at the same time, where nobody stated a number."""
_LOOK = 20.0
"""Seconds between two times that SLURM is asked about all jobs; answers are seen at once."""
_GRACE = 120.0
"""Seconds after which a job that was canceled counts as ended: where SLURM keeps no accounts, nobody tells."""
_DAY = 60 * 24
"""Minutes that a job may take, unless SBATCH_TIMELIMIT says otherwise; then it goes on in another one."""


def work_at(packed: bytes, name: str, device: str) -> Outcome:
    """Work at a stage, in a job, which SIGTERM and the signal before the end of its time stop with a checkpoint."""
    for signum in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_DFL)  # in place of submitit's, which would begin the same job again
    signal.signal(signal.SIGUSR2, _end)
    with stop_at_once():
        return Workplace(device, Silent()).work(packed, name)


def _end(_: int, __: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class SlurmJobs(RemoteTasks):
    """Has stages worked at by jobs of SLURM, each of one stage; a context manager.

    What a job asks for beside processors and memory (partition, time, account, GPUs) is stated as sbatch takes it, by
    the variables SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_ACCOUNT, SBATCH_GPUS and others. The folder of the run
    folders, or the cache of a URL, must be the same on all machines, and so must persistill.

    Args:
        workers: jobs at the same time at most; None for 16.
        device: of the stages; "auto" takes a GPU where the job has one.
        memory: that a stage needs, in bytes; None if it is not known.

    Raises:
        UserError: if submitit is not installed, or this machine is none of a cluster.
    """

    def __init__(self, workers: int | None = None, device: str = "auto", memory: int | None = None) -> None:
        super().__init__()
        try:
            import submitit  # noqa: PLC0415 - an extra
        except ImportError:
            raise UserError(
                'the executor "slurm" needs submitit, which is not installed: pip install "persistill[slurm]".'
            ) from None
        self._submitit: Any = submitit
        self._workers, self._device, self._memory = workers or _MOST, device, memory
        self._cluster = os.environ.get(CLUSTER_VARIABLE, "slurm")
        self._jobs: dict[int, tuple[Context, bytes, Any]] = {}
        self._lost: Counter[str] = Counter()
        self._epochs: Counter[str] = Counter()
        self._canceled: dict[Any, float] = {}
        self._looked = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left to end: jobs were waited for, or stopped."""

    @property
    def workers(self) -> int:
        """Jobs at the same time at most."""
        return self._workers

    def _begin(self, task: Task) -> Any:
        packed, executor = self._prepared(task.context)
        executor.update_parameters(name=f"persistill-{task.stage.kind}-{task.stage.name}")
        try:
            return executor.submit(work_at, packed, task.name, self._device)
        except Exception as error:
            raise UserError(
                f"SLURM did not take a job ({first_line(error)}). Partition, time and account are stated by "
                "SBATCH_PARTITION, SBATCH_TIMELIMIT, SBATCH_ACCOUNT and others; then run the same command again."
            ) from error

    def _prepared(self, context: Context) -> tuple[bytes, Any]:
        """What jobs of a recipe are handed, and what submits them."""
        if id(context) not in self._jobs:
            job = Job.of(context)
            try:
                executor = self._submitit.AutoExecutor(context.out.resolve() / FOLDER, cluster=self._cluster)
            except Exception as error:
                raise UserError(
                    f"there is no SLURM here ({first_line(error)}). Run the command on a machine on which sbatch and "
                    "srun are found."
                ) from error
            if self._cluster == "slurm":
                mebibytes = {} if self._memory is None else {"slurm_mem": f"{-(-self._memory // 2**20)}M"}
                gpus = {"gpus_per_node": 1} if context.device.type == "cuda" else {}
                executor.update_parameters(cpus_per_task=job.threads, timeout_min=_DAY, **mebibytes, **gpus)
            else:
                executor.update_parameters(timeout_min=_DAY)
            self._jobs[id(context)] = context, job.packed(), executor
        return self._jobs[id(context)][1:]

    def _ended(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        time.sleep(seconds)
        asks = time.monotonic() - self._looked > _LOOK
        if asks:
            self._looked = time.monotonic()
        return [job for job in handles if job.done(force_check=asks) or self._is_given_up(job)]

    def _is_given_up(self, job: Any) -> bool:
        return job in self._canceled and time.monotonic() - self._canceled[job] > _GRACE

    def _outcome(self, handle: Any, task: Task) -> Outcome:
        if self._is_given_up(handle):  # its result would be waited for
            return Outcome("stopped")
        try:
            outcome = handle.result()
        except Exception as error:  # noqa: BLE001 - of submitit, if there is no answer, and of what reads it
            outcome, said = Outcome("stopped"), str(error).strip().splitlines()[-1:]
        else:
            said = ["it was told to stop"]
        assert isinstance(outcome, Outcome)
        if outcome.status == "stopped" and handle not in self._canceled:
            self._count_lost(task)
            if self._lost[task.name] >= ATTEMPTS:
                raise UserError(
                    f"{task.name}: {ATTEMPTS} jobs that worked at it were lost, and none got further than the one "
                    "before; of the last one SLURM says "
                    f"{handle.state}, and its end was: {' '.join(said)} (more lies in {handle.paths.folder}). What was "
                    "finished is whole. Ask for more time or memory (SBATCH_TIMELIMIT, SBATCH_MEM_PER_NODE), then run "
                    "the same command again."
                )
        if outcome.status in ("done", "held"):
            for path in handle.paths.folder.glob(f"{handle.job_id}_*"):
                path.unlink(missing_ok=True)
        return outcome

    def _count_lost(self, task: Task) -> None:
        """Count a job that was lost, from one again where it got further: a long training takes many jobs."""
        epochs = 0
        with contextlib.suppress(UserError, OSError):
            records = RunFolder.open(task.context.out / task.name).records()
            epochs = sum(record.get("type") == "epoch" for record in records)
        if epochs > self._epochs[task.name]:
            self._lost[task.name], self._epochs[task.name] = 0, epochs
        self._lost[task.name] += 1

    def _cancel(self, handle: Any, *, at_once: bool = False) -> None:
        self._canceled.setdefault(handle, time.monotonic())
        if not at_once:  # a job has half a minute from SIGTERM on, and then it is ended anyway
            with contextlib.suppress(Exception):  # it may have ended by itself
                handle.cancel(check=False)
