"""Tasks for other processes, in a module that is imported in no time."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from persistill.errors import UserError


def square_once_killed(task: tuple[int, Path], stopped: Callable[[], bool]) -> int:
    """The square of a number; the first process that is given 3 is killed, and 7 is a mistake."""
    number, note = task
    if number == 3 and not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 7:
        raise UserError("7 cannot be squared")
    return number**2


def always_killed(task: int, stopped: Callable[[], bool]) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def until_stopped(task: Path, stopped: Callable[[], bool]) -> None:
    """Say so when it begins, and when it was stopped."""
    task.touch()
    while not stopped():
        time.sleep(0.01)
    task.with_suffix(".stopped").touch()


def full_disk(task: int, stopped: Callable[[], bool]) -> None:
    raise OSError(28, "No space left on device")
