"""The command line as a process: what it leaves with, and what it says of errors."""

import contextlib
import errno
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.text import Text

from persistill.api.text_console import text_console
from persistill.cli import launch
from persistill.cli.app import app
from persistill.errors import RankLostError, UserError
from persistill.utils.remote_fault import CARRIED, frames_of
from persistill.utils.stop_signals import STOP_SIGNALS, Stopped, stop_at_once

if TYPE_CHECKING:
    from traceback import FrameSummary

errors = text_console(stderr=True, soft_wrap=True)
_INTERRUPTED = 130
"""With which typer leaves when a command was interrupted."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and leave with 0, with 2 after a user's mistake, with 1 after a fault.

    After ctrl-C, SIGTERM and SIGUSR1 it leaves with 128 and the number of the signal.

    Args:
        arguments: instead of those of the process.
    """
    code = 0
    try:
        with stop_at_once() as stopped_by:
            given = list(sys.argv[1:] if arguments is None else arguments)
            launch.ARGUMENTS.set(given)
            launch.end_with_launcher()
            app(args=given, prog_name="persistill")
    except Stopped as stopped:
        code = _stopped(stopped.signum)
    except RankLostError as error:
        code = launch.LOST
        if launch.launched():
            launch.note_lost(error)
        else:
            _complain("Error:", f"{error}. Run the same command again, and it goes on where it stopped.")
    except UserError as error:
        _complain("Error:", str(error))
        code = 2
    except OSError as error:
        code = 1
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full. What was finished is whole; make room and run the same command again."
        else:
            advice = "nothing that was there is lost; mend it and run the same command again."
        _complain("Error:", f"{error}: {advice}")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == _INTERRUPTED:
            code = _stopped(_signal_of(stop) or stopped_by())
        elif code - launch.SIGNALED in STOP_SIGNALS:  # of processes that this one started
            code = _stopped(code - launch.SIGNALED)
    except Exception as error:  # noqa: BLE001 - the last line of defence
        import traceback  # noqa: PLC0415

        code = 1
        log = Path("persistill-fault.log")
        with contextlib.suppress(OSError):
            log.write_text(traceback.format_exc(), encoding="utf-8")
        name, place = type(error).__name__, _own_place(frames_of(error))
        whose = (
            f"It came up in code of yours, or in what that code called: {place}. The whole story is in {log}."
            if place
            else f"This is a mistake in persistill, not yours. The whole story is in {log}; please report it."
        )
        _complain("Fault:", f"{name}: {error}\n{whose}")
    sys.exit(code)


def _signal_of(stop: BaseException) -> int:
    """The number of the signal that a command was left after, 0 if none is known: typer puts its own exit in place."""
    error: BaseException | None = stop
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return 0 if error is None else error.signum


def _stopped(signum: int) -> int:
    """Say that a signal ended the command: the exit code."""
    signum = signum or signal.SIGINT
    if launch.launched():
        return launch.SIGNALED + signum  # the command that started this process says it
    what = "Interrupted" if signum == signal.SIGINT else f"Stopped by {signal.Signals(signum).name}"
    errors.print(f"{what}. Run the same command again, and it goes on where it stopped.")
    return launch.SIGNALED + signum


def _own_place(frames: Iterable["FrameSummary"]) -> str:
    """The innermost line that is neither the package's nor that of an installed library; "" if there is none."""
    import sysconfig  # noqa: PLC0415

    others = Path(__file__).resolve().parents[1], Path(sysconfig.get_path("stdlib")).resolve()
    place = ""
    for frame in frames:
        file = Path(frame.filename).resolve()
        installed = not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
        if frame.filename == CARRIED:
            place = f"the recipe's file, line {frame.lineno}, in {frame.name}"
        elif file.is_file() and not installed and not any(file.is_relative_to(folder) for folder in others):
            place = f"{frame.filename}, line {frame.lineno}, in {frame.name}"
    return place


def _complain(what: str, text: str) -> None:
    errors.print(Text.assemble((what, "bold red"), f" {text}"))
