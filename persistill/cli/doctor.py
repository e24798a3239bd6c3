"""`persistill doctor`: is everything there, and does the engine compute what it should?"""

import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import typer
from rich.text import Text

from persistill.api.text_console import text_console
from persistill.cli import doctor_checks
from persistill.cli.console import quiet_start
from persistill.cli.doctor_checks import Finding
from persistill.cli.options import OutFolder

SUMMARY = "Look at versions, devices, disks and extras, and check the engine."
EXAMPLES = ("persistill doctor", "persistill doctor --out /data/runs")
UNWELL = 1
"""Exit code where something is wrong."""

_MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("bad ", "bold red")}
console = text_console(soft_wrap=True)


def doctor(out: OutFolder = Path("runs")) -> None:
    """Look at versions, devices, threads, disks, the cache of kernels and the extras, and check the engine.

    Functions of the topology engine are compared with slow, plain implementations of the same definitions. It takes
    seconds, and about ten more where kernels are compiled for the first time. Nothing is written but those. It ends
    with exit code 0, and with 1 if something is wrong.
    """
    light = (doctor_checks.versions(), doctor_checks.extras(), doctor_checks.places(out), doctor_checks.threads())
    wrong = _tell(chain(*light))
    with quiet_start():
        found = [*doctor_checks.devices(), *_engine()]
    wrong += _tell(found)
    if wrong:
        console.print(f"{wrong} of these {'is' if wrong == 1 else 'are'} wrong.")
        raise typer.Exit(UNWELL)
    console.print("All is well.")


def _tell(findings: Iterable[Finding]) -> int:
    """Print findings; how many of them are bad."""
    wrong = 0
    for found in findings:
        mark, style = _MARKS[found.state]
        console.print(Text.assemble((mark, style), f"  {found.what}: {found.words}"))
        wrong += found.state == "bad"
    return wrong


def _engine() -> Iterable[Finding]:
    from persistill.topology._numba.jit import cache_folder  # noqa: PLC0415 - numba is slow to import
    from persistill.topology.self_check import self_check  # noqa: PLC0415

    folder = cache_folder()
    if folder is None:
        yield Finding("cache of kernels", "note", "no folder can be written to: set NUMBA_CACHE_DIR to one that can")
    else:
        yield Finding("cache of kernels", "ok", str(folder))
    began = time.perf_counter()
    for check in self_check():
        seconds, began = time.perf_counter() - began, time.perf_counter()
        if check.problem is None:
            words = f"as the definition says for {check.inputs} inputs ({seconds:.1f} s)"
            yield Finding(check.function, "ok", words)
        else:
            yield Finding(check.function, "bad", f"{check.problem}. Please report it, with all of these lines.")
