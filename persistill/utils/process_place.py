"""Where this process stands among those that were started together: by ``--devices``, torchrun, or SLURM's srun."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from persistill.errors import UserError

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
        UserError: if one is missing or no number, or the rank is behind the last.
    """
    try:
        if int(environment.get("WORLD_SIZE", "1")) > 1:
            size = int(environment["WORLD_SIZE"])
            rank = range(size).index(int(environment["RANK"]))  # the others would wait for one that never comes
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


def _first_host(nodes: str) -> str:
    """Of a list such as gpu[03-07,12],login: gpu03."""
    found = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    if found is None:
        raise ValueError(nodes)
    return found[1] + (found[2] or "")
