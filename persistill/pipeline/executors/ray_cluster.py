"""Stages as tasks of Ray, on this machine or on the machines of a cluster."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Self

from persistill.errors import UserError, first_line
from persistill.pipeline.context import Context
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.executors.local import tell_of_waiting
from persistill.pipeline.executors.walk import Task, Walk
from persistill.pipeline.executors.worker import Workplace
from persistill.utils.progress import Progress, Silent, beside
from persistill.utils.ray_connection import RayConnection
from persistill.utils.stop_signals import stop_at_once, stop_if_asked

ATTEMPTS = 3
"""How often a stage is begun whose worker is lost."""
_SECONDS = 0.2
"""Between two looks at what is left to do."""
_HELD_SECONDS = 1.0
"""Until a stage at which another run works is tried again."""


def work_at(packed: bytes, name: str, device: str) -> Outcome:
    """Work at a stage, in a process of Ray's."""
    with stop_at_once():
        return _place(device).work(packed, name)


@lru_cache(maxsize=1)
def _place(device: str) -> Workplace:
    return Workplace(device, Silent())


class RayCluster:
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
        self._connection = RayConnection()
        self._ray = self._connection.ray
        self._asked, self._device, self._memory = workers, device, memory
        self._running: dict[Any, tuple[Task, Progress]] = {}
        self._lanes: list[Progress] = []
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

    def run(self, walk: Walk, watch: Callable[[], None] = lambda: None) -> None:
        """As ``Executor.run`` says.

        Raises:
            UserError: also if the workers that work at a stage are lost again and again.
        """
        held: dict[str, float] = {}
        told, asked = False, set[Any]()
        try:
            while walk or self._running:
                stop_if_asked()
                watch()
                for reference, (task, _) in self._running.items():
                    if task.name not in walk and reference not in asked:
                        asked.add(reference)
                        self._ray.cancel(reference)
                self._hand_out(walk, held)
                if not told and held and not self._running:
                    ready = walk.ready()
                    tell_of_waiting(ready, ready[0].context)
                    told = True
                self._collect(walk, held)
        except BaseException:
            self._stop_all()
            raise

    def _hand_out(self, walk: Walk, held: dict[str, float]) -> None:
        at_work = {task.name: task for task, _ in self._running.values()}
        walk.pass_over_finished(at_work)
        now = time.monotonic()
        leave = {name for name, until in held.items() if until > now}
        while task := walk.next_task(at_work, self.workers, leave):
            at_work[task.name] = task
            held.pop(task.name, None)
            reference, threads = self._job(task.context)
            remote = self._ray.remote(work_at).options(
                name=f"persistill {task.name}",
                num_gpus=self._gpus,
                max_retries=ATTEMPTS - 1,
                **self._needs(threads),
            )
            lane = self._lanes.pop() if self._lanes else beside(task.context.progress)
            lane.start(f"{task.stage.kind} {task.stage.name}", 1)
            # A task sees its own GPUs alone, whichever they are.
            device = "cuda" if self._gpus else self._device
            self._running[remote.remote(reference, task.name, device)] = task, lane

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

    def _collect(self, walk: Walk, held: dict[str, float]) -> None:
        if not self._running:
            time.sleep(_SECONDS)
            return
        for reference in self._ray.wait(list(self._running), timeout=_SECONDS)[0]:
            task, lane = self._running.pop(reference)
            outcome = self._outcome(reference, task)
            lane.finish({"done": "", "held": "another run works at it"}.get(outcome.status, outcome.status))
            self._lanes.append(lane)
            if outcome.status == "held":
                held[task.name] = time.monotonic() + _HELD_SECONDS
            elif outcome.status == "failed" and task.name in walk:
                walk.failed(task, outcome)
            elif outcome.status == "done" and task.name in walk:
                walk.finished(task, task.stage.open(task.context))

    def _outcome(self, reference: Any, task: Task) -> Outcome:
        try:
            outcome = self._ray.get(reference)
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

    def _stop_all(self) -> None:
        """Have all that is worked at stopped, with checkpoints; ended at once by another signal."""
        running = list(self._running)
        self._running.clear()
        try:
            for reference in running:
                self._ray.cancel(reference)
            self._ray.wait(running, num_returns=len(running)) if running else None
        except BaseException:
            for reference in running:
                self._ray.cancel(reference, force=True)
            raise
