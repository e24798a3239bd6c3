"""``--devices N``: the same command in N processes, which train together. Nothing here imports torch."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import NoReturn

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
_SECONDS, _GRACE, _PATIENCE = 0.1, 20.0, 120.0


def in_processes(devices: int | None) -> None:
    """Start the command once more for each device, and leave with its exit code; do nothing in one of these processes.

    Args:
        devices: how many; None or 1 for this process alone.

    Raises:
        UserError: if this command was started by torchrun or srun for another number, or a process was lost; and on
            Windows, where a process cannot be handed what it is watched by.
        Stopped: if a signal ended them.
    """
    place = find_place()
    if place is not None:
        if devices not in (None, place.local_size):
            raise UserError(
                f"--devices {devices} was given to a command that was started as {place.size} processes, "
                f"{place.local_size} on this machine; leave --devices away where torchrun or srun starts them."
            )
        return
    if devices not in (None, 1):
        assert devices is not None
        if os.name == "nt":
            raise UserError("--devices needs Linux or macOS; without it, this process trains alone.")
        raise SystemExit(_launch(devices, ARGUMENTS.get()))


def launched() -> bool:
    """Whether this is a process that ``--devices`` started."""
    return _LAUNCHER in os.environ


def note_lost(error: RankLostError) -> None:
    """In a process that ``--devices`` started: leave word of why it ends, for where no other has a better reason."""
    if os.environ["RANK"] != "0":  # whose words go to the terminal at once
        sys.stderr.write(f"{first_line(error)}\n")


def end_with_launcher() -> None:
    """In a process that ``--devices`` started: stop if the command that started it is gone, however it ended."""
    if launched():
        threading.Thread(target=_watch, args=(int(os.environ[_LAUNCHER]),), daemon=True).start()


def _watch(file: int) -> None:
    with contextlib.suppress(OSError):
        os.read(file, 1)
        os.kill(os.getpid(), signal.SIGTERM)


def _launch(count: int, arguments: Sequence[str]) -> int:
    """Run a command line in several processes: the exit code of the one that ended first for a reason of its own."""
    with tempfile.TemporaryDirectory() as folder, _started(count, arguments, Path(folder)) as processes:
        failed: list[int] = []
        since = 0.0
        while any(process.poll() is None for process in processes):
            for rank, process in enumerate(processes):
                if process.returncode and rank not in failed:
                    failed.append(rank)
                    since = since or time.monotonic()
            if since and time.monotonic() - since > _GRACE:
                break
            time.sleep(_SECONDS)
        failed += [rank for rank, process in enumerate(processes) if process.returncode and rank not in failed]
        if failed:
            _tell(failed, processes, Path(folder))
    return 0


@contextlib.contextmanager
def _started(count: int, arguments: Sequence[str], folder: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The processes; a signal that comes is handed to all of them, a second one ends them."""
    reads, writes = os.pipe()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        environment = {**os.environ, **_environment(count), _LAUNCHER: str(reads)}
        for rank in range(count):
            first = rank == 0
            with (folder / str(rank)).open("wb") as said:
                processes.append(
                    subprocess.Popen(  # noqa: S603 - this interpreter, and our own command line
                        [sys.executable, "-P", "-m", "persistill", *arguments],
                        env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
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


def _environment(count: int) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        # Where the name of a machine leads nowhere, as in some containers, gloo looks for its address, and warns.
        **({"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")} if sys.platform == "linux" else {}),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count))),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def _tell(failed: Sequence[int], processes: Sequence["subprocess.Popen[bytes]"], folder: Path) -> NoReturn:
    """Leave as the process did that ended first for a reason of its own, after saying what it said."""
    codes = {rank: processes[rank].returncode for rank in failed}
    own = [rank for rank in failed if codes[rank] != LOST] or failed
    rank = 0 if codes.get(0) == codes[own[0]] else own[0]  # what the first one said is on the terminal already
    code = codes[rank]
    if code == LOST or code < 0:
        *_, said = ["", *(folder / str(failed[-1])).read_text(encoding="utf-8", errors="replace").splitlines()]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"lost the others ({said})"
        raise UserError(
            f"process {rank + 1} of {len(processes)} {how}. What was finished is whole; run the same command again, "
            "and it goes on where it stopped."
        )
    if rank > 0:
        sys.stderr.write((folder / str(rank)).read_text(encoding="utf-8", errors="replace"))
    raise SystemExit(code)
