"""``--devices N`` and ``--nodes M``: the same command in N processes on M machines, which train together.

Nothing here imports torch.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

from persistill.cli.machine import Machine, find_machine
from persistill.errors import RankLostError, UserError, first_line
from persistill.utils.process_place import find_place
from persistill.utils.stop_signals import Stopped

ARGUMENTS: ContextVar[Sequence[str]] = ContextVar("arguments")
"""Those of the command line that is run."""
SIGNALED = 128
"""Exit codes after a signal are this and its number."""
LOST = 76
"""Exit code of a process that ends because another one did, which is the one to be told of."""
_LAUNCHER = "PERSISTILL_LAUNCHER"
"""The variable that holds, in each of the processes, the file that ends with the command that started them."""
_LAST_WORD = "PERSISTILL_LAST_WORD"
"""The variable that holds the path of a file for why a process has lost the others."""
_SECONDS, _GRACE, _PATIENCE = 0.1, 20.0, 120.0


def in_processes(
    devices: int | None = None, nodes: int | None = None, node_rank: int | None = None, rendezvous: str | None = None
) -> None:
    """Start the command once more for each device, and leave with its exit code; do nothing in one of these processes.

    Args:
        devices: how many of this machine; None for 1.
        nodes: on how many machines the command is given; None for 1.
        node_rank: which of them this is, from 0.
        rendezvous: where their processes meet, HOST:PORT of the first one.

    Raises:
        UserError: if this command was started by torchrun or srun for other numbers, what is said of several machines
            does not fit together, or a process was lost; and on Windows, where a process cannot be handed what it is
            watched by.
        Stopped: if a signal ended them.
    """
    place = find_place()
    if place is not None:
        if launched():
            return
        started = f"was started as {place.size} processes, {place.local_size} on this machine"
        if devices not in (None, place.local_size):
            raise UserError(
                f"--devices {devices} was given to a command that {started}; leave --devices away where torchrun or "
                "srun starts them."
            )
        if nodes not in (None, place.size // place.local_size) or node_rank is not None or rendezvous is not None:
            given = {"--nodes": nodes, "--node-rank": node_rank, "--rendezvous": rendezvous}
            raise UserError(
                f"{' '.join(f'{name} {value}' for name, value in given.items() if value is not None)} was given to a "
                f"command that {started}; leave --nodes, --node-rank and --rendezvous away where torchrun or srun "
                "starts them."
            )
        return
    machine = find_machine(devices or 1, nodes or 1, node_rank, rendezvous)
    if machine.size > 1:
        if os.name == "nt":
            raise UserError("--devices and --nodes need Linux or macOS; without them, this process trains alone.")
        raise SystemExit(_launch(machine, ARGUMENTS.get()))


def launched() -> bool:
    """Whether this is a process that ``--devices`` started."""
    return _LAUNCHER in os.environ


def note_lost(error: RankLostError) -> None:
    """In a process that ``--devices`` started: leave word of why it ends, for where no other has a better reason."""
    with Path(os.environ[_LAST_WORD]).open("a", encoding="utf-8") as word:
        word.write(f"{first_line(error)}\n")


def end_with_launcher() -> None:
    """In a process that ``--devices`` started: stop if the command that started it is gone, however it ended."""
    if launched():
        threading.Thread(target=_watch, args=(int(os.environ[_LAUNCHER]),), daemon=True).start()


def _watch(file: int) -> None:
    with contextlib.suppress(OSError):
        os.read(file, 1)
        os.kill(os.getpid(), signal.SIGTERM)


def _launch(machine: Machine, arguments: Sequence[str]) -> int:
    """Run a command line in several processes: the exit code of the one that ended first for a reason of its own."""
    if machine.nodes > 1:
        tells = (
            "waits for the others" if machine.number == 0 else "trains along with machine 1, which tells how it goes"
        )
        sys.stderr.write(f"machine {machine.number + 1} of {machine.nodes} {tells}\n")
    with tempfile.TemporaryDirectory() as folder, _started(machine, arguments, Path(folder)) as processes:
        failed: list[int] = []
        since = 0.0
        while [process for process in processes if process.poll() is None]:  # each is asked, also behind one at work
            for rank, process in enumerate(processes):
                if process.returncode and rank not in failed:
                    failed.append(rank)
                    since = since or time.monotonic()
            if since and time.monotonic() - since > _GRACE:
                break
            time.sleep(_SECONDS)
        failed += [rank for rank, process in enumerate(processes) if process.returncode and rank not in failed]
        if failed:
            _tell(failed, processes, Path(folder), machine)
    return 0


@contextlib.contextmanager
def _started(machine: Machine, arguments: Sequence[str], folder: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The processes; a signal that comes is handed to all of them, a second one ends them."""
    reads, writes = os.pipe()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        environment = {**os.environ, **_environment(machine), _LAUNCHER: str(reads)}
        for local in range(machine.devices):
            rank = machine.first + local
            first = rank == 0
            with (folder / str(local)).open("wb") as said:
                processes.append(
                    subprocess.Popen(  # noqa: S603 - this interpreter, and our own command line
                        [sys.executable, "-P", "-m", "persistill", *arguments],
                        env={
                            **environment,
                            "RANK": str(rank),
                            "LOCAL_RANK": str(local),
                            _LAST_WORD: str(folder / f"{local}.lost"),
                        },
                        stdin=None if first else subprocess.DEVNULL,
                        stdout=None if first else subprocess.DEVNULL,
                        stderr=None if first else said,
                        pass_fds=[reads],
                        process_group=0,
                    )
                )
        yield processes
    except Stopped as stop:
        for process in processes:
            process.send_signal(stop.signum)
        _await_ends(processes)
        raise
    finally:
        os.close(reads)
        os.close(writes)
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _await_ends(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Wait until all have ended; for those that are left after the first one, not forever.

    A process that waits for another one's beginning does so in compiled code, where signals are not heard.
    """
    since = 0.0
    while left := [process for process in processes if process.poll() is None]:
        if len(left) < len(processes):
            since = since or time.monotonic()
        if since and time.monotonic() - since > _PATIENCE:
            return
        time.sleep(_SECONDS)


def _environment(machine: Machine) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Where the name of a machine leads nowhere, as in some containers, gloo looks for its address, and warns.
    inside = sys.platform == "linux" and machine.nodes == 1
    return {
        "WORLD_SIZE": str(machine.size),
        "LOCAL_WORLD_SIZE": str(machine.devices),
        "MASTER_ADDR": machine.address,
        "MASTER_PORT": str(machine.port),
        **({"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")} if inside else {}),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // machine.devices))),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def _tell(
    failed: Sequence[int], processes: Sequence["subprocess.Popen[bytes]"], folder: Path, machine: Machine
) -> NoReturn:
    """Leave as the process did that ended first for a reason of its own, after saying what it said."""
    codes = {local: processes[local].returncode for local in failed}
    own = [local for local in failed if codes[local] != LOST] or failed
    local = 0 if codes.get(0) == codes[own[0]] else own[0]  # what the first one said is on the terminal already
    code = codes[local]
    if code == LOST or code < 0:
        how = (
            f"was ended by {signal.Signals(-code).name}"
            if code < 0
            else f"lost the others ({(folder / f'{local}.lost').read_text(encoding='utf-8').strip()})"
        )
        raise UserError(
            f"process {machine.first + local + 1} of {machine.size} {how}. What was finished is whole; run the same "
            "command again, and it goes on where it stopped."
        )
    if machine.first + local > 0:
        sys.stderr.write((folder / str(local)).read_text(encoding="utf-8", errors="replace"))
    raise SystemExit(code)
