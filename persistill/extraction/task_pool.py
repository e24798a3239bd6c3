"""Tasks that do not depend on each other, done in this process, in several, or by Ray."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol, TypeVar

from persistill.errors import UserError, unknown

Task = TypeVar("Task")
Result = TypeVar("Result")
Function = Callable[[Task, Callable[[], bool]], Result]
"""Does a task; it asks the function that it is given whether it shall stop."""

EXECUTORS = ("local", "processes", "ray")
ATTEMPTS = 3
"""How often a task is begun whose process is lost."""


class TaskPool(Protocol):
    """A way to have tasks done.

    Attributes:
        threads: that a task computes with.
    """

    threads: int

    def run(
        self, function: Function[Task, Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """Have all tasks done.

        Args:
            function: lies at the top of a module, where other processes find it.
            tasks: taken one after another, as there is somebody to do them.

        Yields:
            Each task with its result, as they are done, in any order.

        Raises:
            Exception: what a task raised; no further task is begun then.
            UserError: if processes are lost again and again.
        """


class LocalPool:
    """Does one task after another in this process.

    Args:
        threads: that a task computes with.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self, function: Function[Task, Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """As ``TaskPool`` says."""
        for task in tasks:
            yield task, function(task, lambda: False)


@contextlib.contextmanager
def open_pool(executor: str | None, workers: int | None, threads: int | None) -> Iterator[TaskPool]:
    """A pool, which ends with the block.

    Args:
        executor: in ``EXECUTORS``; None for processes where there are to be several workers.
        workers: tasks that are done at the same time; None for one, or for as many as the machines of a cluster have
            processors.
        threads: that a task computes with; None for a share of the cores of this machine, and for one with Ray.

    Raises:
        UserError: if there is no such executor, or it does not go with that number of workers.
    """
    if executor is not None and executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    if executor == "local" and workers not in (None, 1):
        raise UserError(
            f"the executor 'local' makes one shard after another, and {workers} workers were asked for: leave out "
            "--executor, or name 'processes'."
        )
    cores = min(os.cpu_count() or 1, 16)
    if executor == "ray":
        from persistill.extraction.ray_pool import RayPool  # noqa: PLC0415 - only who asks for it needs it

        with RayPool(workers, threads or 1) as ray_pool:
            yield ray_pool
    elif executor == "processes" or (executor is None and (workers or 1) > 1):
        from persistill.extraction.process_pool import ProcessPool  # noqa: PLC0415

        count = workers or cores
        with ProcessPool(count, threads or max(1, cores // count)) as process_pool:
            yield process_pool
    else:
        yield LocalPool(threads or cores)
