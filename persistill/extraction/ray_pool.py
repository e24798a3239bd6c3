"""Tasks of Ray, on this machine or on the machines of a cluster."""

from collections.abc import Generator, Iterable
from typing import Any, Self

from persistill.errors import UserError, first_line
from persistill.extraction.task_pool import ATTEMPTS, Function, Result, Task
from persistill.utils.ray_connection import RayConnection
from persistill.utils.stop_signals import stop_if_asked

_SECONDS = 0.2
"""Between two looks at whether a signal came."""
_AHEAD = 2
"""Tasks a processor that are handed out, where the number of workers is not limited."""


class RayPool:
    """Has tasks done by Ray; a context manager, which ends the connection.

    Attributes:
        threads: that a task computes with, and processors that it asks for.

    Args:
        workers: tasks at the same time at most; None for as many as the cluster has room for.
        threads: as above.

    Raises:
        UserError: if Ray is not installed, or the cluster does not answer.
    """

    def __init__(self, workers: int | None, threads: int) -> None:
        self.threads = threads
        self._workers = workers
        self._connection = RayConnection()

    def __enter__(self) -> Self:
        self._connection.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._connection.__exit__(*details)

    def run(
        self, function: Function[Task, Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """As ``TaskPool`` says."""
        ray, waiting = self._connection.ray, iter(tasks)
        largest = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
        remote = ray.remote(_do).options(
            name=f"persistill {getattr(function, '__name__', 'task')}",
            num_cpus=min(self.threads, largest),  # for more it would wait forever, unsaid
            max_retries=ATTEMPTS - 1,
        )
        running: dict[Any, Task] = {}
        try:
            while True:
                while len(running) < self._most() and (task := next(waiting, None)) is not None:
                    running[remote.remote(function, task)] = task
                if not running:
                    return
                stop_if_asked()
                for reference in ray.wait(list(running), timeout=_SECONDS)[0]:
                    task = running.pop(reference)
                    yield task, self._result(reference)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)

    def _most(self) -> int:
        return self._workers or max(1, _AHEAD * self._connection.processors // self.threads)

    def _result(self, reference: Any) -> Any:
        ray = self._connection.ray
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise UserError(
                f"Ray lost the workers that had a task, {ATTEMPTS} times ({first_line(error)}). What was finished is "
                "whole. See that no machine of the cluster runs out of memory (fewer --workers need less), then run "
                "the same command again."
            ) from error


def _do(function: Function[Any, Any], task: Any) -> Any:
    return function(task, lambda: False)
