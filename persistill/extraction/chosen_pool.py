"""The pool of tasks that was asked for."""

import contextlib
import os
from collections.abc import Iterator

from persistill.errors import UserError, unknown
from persistill.extraction.process_pool import ProcessPool
from persistill.extraction.ray_pool import RayPool
from persistill.extraction.task_pool import LocalPool, TaskPool

EXECUTORS = ("local", "processes", "ray")


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
        with RayPool(workers, threads or 1) as ray_pool:
            yield ray_pool
    elif executor == "processes" or (executor is None and (workers or 1) > 1):
        count = workers or cores
        with ProcessPool(count, threads or max(1, cores // count)) as process_pool:
            yield process_pool
    else:
        yield LocalPool(threads or cores)
