"""Stages as tasks of Ray, on this machine or on the machines of a cluster."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

from persistill.errors import UserError, first_line
from persistill.pipeline.context import Context
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.executors.remote_tasks import ATTEMPTS, RemoteTasks
from persistill.pipeline.executors.walk import Task
from persistill.pipeline.executors.worker import Workplace
from persistill.utils.progress import Silent
from persistill.utils.ray_connection import RayConnection
from persistill.utils.stop_signals import stop_at_once


def work_at(packed: bytes, name: str, device: str) -> Outcome:
    """Work at a stage, in a process of Ray's."""
    with stop_at_once():
        return _place(device).work(packed, name)


@lru_cache(maxsize=1)
def _place(device: str) -> Workplace:
    return Workplace(device, Silent())


class RayCluster(RemoteTasks):
    """Has stages worked at by Ray; a context manager.

    Which cluster it is, ``RayConnection`` says. The folder of the run folders must be the same on all its machines, and
    so must persistill.

    Args:
        workers: stages at the same time at most; None for as many as the cluster has processors.
        device: of the stages; each has a whole GPU unless it is "cpu".
        memory: that a stage needs, in bytes; None if it is not known.

    Raises:
        UserError: if Ray is not installed, or the cluster does not answer.
    """

    def __init__(self, workers: int | None = None, device: str = "auto", memory: int | None = None) -> None:
        super().__init__()
        self._connection = RayConnection()
        self._ray = self._connection.ray
        self._asked, self._device, self._memory = workers, device, memory
        self._jobs: dict[int, tuple[Context, Any]] = {}

    def __enter__(self) -> Self:
        self._connection.__enter__()
        self._gpus = 0 if self._device == "cpu" or not self._ray.cluster_resources().get("GPU") else 1
        return self

    def __exit__(self, *details: object) -> None:
        self._connection.__exit__(*details)

    @property
    def workers(self) -> int:
        """Stages that are worked at at the same time at most."""
        return self._asked or self._connection.processors

    def _begin(self, task: Task) -> Any:
        reference, threads = self._job(task.context)
        remote = self._ray.remote(work_at).options(
            name=f"persistill {task.name}",
            num_gpus=self._gpus,
            max_retries=ATTEMPTS - 1,
            **self._needs(threads),
        )
        # A task sees its own GPUs alone, whichever they are.
        return remote.remote(reference, task.name, "cuda" if self._gpus else self._device)

    def _needs(self, threads: int) -> dict[str, float]:
        """What a task asks for, and no more than the largest machine has: for that it would wait forever, unsaid."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        wanted = {"num_cpus": ("CPU", threads)} | ({} if self._memory is None else {"memory": ("memory", self._memory)})
        return {name: min(most, max(has.get(kind, 0) for has in machines)) for name, (kind, most) in wanted.items()}

    def _job(self, context: Context) -> Any:
        """The job of a recipe where all tasks find it, and its number of threads."""
        if id(context) not in self._jobs:
            job = Job.of(context)
            self._jobs[id(context)] = context, (self._ray.put(job.packed()), job.threads)
        return self._jobs[id(context)][1]

    def _ended(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        ended: Sequence[Any] = self._ray.wait(list(handles), timeout=seconds)[0]
        return ended

    def _cancel(self, handle: Any, *, at_once: bool = False) -> None:
        self._ray.cancel(handle, force=at_once)

    def _outcome(self, handle: Any, task: Task) -> Outcome:
        try:
            outcome = self._ray.get(handle)
        except self._ray.exceptions.TaskCancelledError:
            return Outcome("stopped")
        except self._ray.exceptions.RayError as error:
            raise UserError(
                f"{task.name}: Ray lost the workers that worked at it, {ATTEMPTS} times ({first_line(error)}). What "
                "was finished is whole. See that no machine of the cluster runs out of memory (fewer --workers need "
                "less), then run the same command again."
            ) from error
        assert isinstance(outcome, Outcome)
        return outcome
