"""Progress bars on a terminal, one line a stage elsewhere."""

import time
from collections.abc import Mapping
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bars:
    """Draws each stage as a bar with its epoch, loss terms and time left; finished stages stay, with their time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            expand=False,
        )
        self._task: TaskID | None = None
        self._stage, self._began, self._values = "", 0.0, ""

    def __enter__(self) -> Self:
        if self._live:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bars.stop()

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._stage, self._began, self._values = stage, time.perf_counter(), ""
        if self._live:
            self._task = self._bars.add_task(stage, total=total, completed=done, note="")

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:
        """Move the bar, and show what is given."""
        if note or values:
            shown = "  ".join(f"{name} {value:.3g}" for name, value in (values or {}).items())
            self._values = "  ".join(part for part in (note, shown) if part)
        if self._live and self._task is not None:
            self._bars.update(self._task, advance=units, note=self._values)

    def finish(self, note: str = "") -> None:
        """End the stage; where there is no terminal, say so in a line."""
        seconds = time.perf_counter() - self._began
        if self._live and self._task is not None:
            total = self._bars.tasks[self._bars.task_ids.index(self._task)].total
            self._bars.update(self._task, completed=total, note=note or self._values)
        elif not self._live:
            tail = note or self._values
            self._console.print(f"{self._stage}: {seconds:.1f} s{'  ' + tail if tail else ''}", highlight=False)
        self._task = None
