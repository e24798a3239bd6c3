"""Which ranks this process is among: started by ``--devices``, by torchrun, or by SLURM's srun."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import distributed

from persistill.errors import RankLostError, UserError
from persistill.training.ranks import Ranks

_FIRST_PORT, _PORTS = 20000, 10000


class Place(NamedTuple):
    """A process among those that were started together.

    Attributes:
        rank: of all, from 0.
        size: how many there are.
        local_rank: of those on this machine.
        local_size: how many there are on this machine.
        address: of the machine of rank 0.
        port: where rank 0 listens.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int


def find_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Where this process stands among those that were started together; None for one alone.

    Args:
        environment: variables; those of torchrun count before those of srun.

    Raises:
        UserError: if one is missing or no number.
    """
    try:
        if int(environment.get("WORLD_SIZE", "1")) > 1:
            rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
            local = int(environment["LOCAL_RANK"]), int(environment.get("LOCAL_WORLD_SIZE", size))
            return Place(rank, size, *local, environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
        # srun sets it; in a batch script alone, where one process runs, there is none.
        if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
            rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
            first, *_ = environment["SLURM_STEP_TASKS_PER_NODE"].split(",")
            local = int(environment["SLURM_LOCALID"]), int(first.partition("(")[0])
            port = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) % _PORTS
            address = environment.get("MASTER_ADDR") or _first_host(environment["SLURM_STEP_NODELIST"])
            return Place(rank, size, *local, address, int(environment.get("MASTER_PORT", port)))
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the environment says that this is one of several processes, and not which ({type(error).__name__}: "
            f"{error}). Start it with torchrun or srun, which set RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and "
            "MASTER_PORT, or SLURM_PROCID and its like; or unset WORLD_SIZE and SLURM_STEP_NUM_TASKS."
        ) from None
    return None


def own_device(device: str, place: Place | None) -> str:
    """The device of this process: on each machine, every process has a GPU of its own.

    Args:
        device: that was asked for.
        place: of this process; None for one alone, which has the device that was asked for.

    Raises:
        UserError: if there are fewer GPUs than processes on this machine, or one was named by its number.
    """
    if place is None:
        return device
    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if not gpu and device not in ("auto", "cpu"):
        raise UserError(
            f"--device {device} is one device, and {place.size} processes train here; write --device cuda, of which "
            "each takes one, or --device cpu."
        )
    if gpu and torch.cuda.device_count() < place.local_size:
        raise UserError(
            f"{place.local_size} processes were started on this machine, which has {torch.cuda.device_count()} GPU(s): "
            "start as many as there are GPUs, or use --device cpu."
        )
    return f"cuda:{place.local_rank}" if gpu else "cpu"


def join(device: str) -> Ranks:
    """The ranks among which this process was started, once all of them are there; or it alone.

    Args:
        device: that was asked for, see ``own_device``.

    Raises:
        UserError: if this machine or the environment does not allow it.
        RankLostError: if the others do not come.
    """
    place = find_place()
    if place is None:
        return Ranks()
    own = torch.device(own_device(device, place))
    if not distributed.is_available():
        raise UserError("this build of torch has no torch.distributed, which several devices need; install another.")
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if not distributed.is_initialized():
        try:
            distributed.init_process_group(
                "gloo", init_method=f"tcp://{place.address}:{place.port}", rank=place.rank, world_size=place.size
            )
        except RuntimeError as error:
            raise RankLostError(f"the processes of this training did not find each other ({error})") from error
    return Ranks(place.rank, place.size, own)


def _first_host(nodes: str) -> str:
    """Of a list such as gpu[03-07,12],login: gpu03."""
    found = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    if found is None:
        raise ValueError(nodes)
    return found[1] + (found[2] or "")
