"""From the place of a process among others to ranks that can talk to each other."""

import atexit
import datetime as dt

import torch
from torch import distributed

from persistill.errors import RankLostError, UserError, first_line
from persistill.ranks import Ranks
from persistill.utils.process_place import Place, find_place
from persistill.utils.stop_signals import ended_at_once

_MEETING = dt.timedelta(minutes=10)
"""For which the processes of one machine wait for those of another to be started."""


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
            "start as many as there are GPUs, each of which sees all of them (srun --gpus-per-node, and not "
            "--gpus-per-task), or use --device cpu."
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
    with ended_at_once():
        if not distributed.is_initialized():
            _meet(place)
        ranks = Ranks(place.rank, place.size, own)
    atexit.register(ranks.leave)
    return ranks


def _meet(place: Place) -> None:
    host = f"[{place.address}]" if ":" in place.address else place.address  # of IPv6
    url = f"tcp://{host}:{place.port}"
    try:
        distributed.init_process_group(
            "gloo", init_method=url, rank=place.rank, world_size=place.size, timeout=_MEETING
        )
    except (RuntimeError, ValueError) as error:  # the latter of a host that nobody knows
        raise RankLostError(
            f"{place.size} processes were to meet at {place.address}:{place.port}, and did not within "
            f"{_MEETING.total_seconds() / 60:.0f} minutes, or could not ({first_line(error)}). Where several machines "
            "train together, all need the same --nodes, --devices and --rendezvous, and must reach that address"
        ) from error
