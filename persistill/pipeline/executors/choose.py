"""The executor that was asked for."""

import contextlib
from collections.abc import Iterator

import torch

from persistill.errors import UserError, unknown
from persistill.pipeline.executors.base import Executor
from persistill.pipeline.executors.processes import Processes
from persistill.pipeline.executors.ray_cluster import RayCluster
from persistill.pipeline.executors.slurm import SlurmJobs

EXECUTORS = ("local", "processes", "ray", "slurm")


@contextlib.contextmanager
def chosen_executor(
    name: str | None, workers: int | None, device: str, memory: int | None = None
) -> Iterator[Executor | None]:
    """An executor, which ends with the block; None for one stage after another in this process.

    Args:
        name: in ``EXECUTORS``; None for processes where there are to be several workers.
        workers: at the same time; None for one, or for as many as the machines of a cluster have processors.
        device: as for ``Pipeline``.
        memory: that a stage needs, in bytes; None if it is not known.

    Raises:
        UserError: if there is no such executor, or it does not go with that number of workers.
    """
    if name is not None and name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1; {workers} was given.")
    if name == "local" and workers not in (None, 1):
        raise UserError(
            f"the executor 'local' works at one stage after another, and {workers} workers were asked for: leave out "
            "the executor, or name 'processes'."
        )
    if name == "ray":
        with RayCluster(workers, device, memory) as cluster:
            yield cluster
    elif name == "slurm":
        with SlurmJobs(workers, device, memory) as jobs:
            yield jobs
    elif name == "processes" or (name is None and (workers or 1) > 1):
        with Processes(workers or 1, devices(device)) as executor:
            yield executor
    else:
        yield None


def devices(device: str) -> tuple[str, ...]:
    """The devices that several processes share: all GPUs, unless one or the processor was named."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return tuple(f"cuda:{number}" for number in range(count)) if count > 1 else (device,)
