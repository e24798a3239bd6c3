"""Progress bars for people: in a terminal, in a notebook, or one line a stage."""

import contextlib
import html
import os
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from persistill.api.text_console import text_console
from persistill.utils.progress import Progress, Silent

_SECONDS = 0.2  # between two looks of a bar in a notebook
_BAR = 10
_FIXED = 1 + _BAR + len("100%") + len("0:00:00") + 5  # spinner, bar, share, time left, and the gaps between columns
_SHARE, _SHORTEST, _LONGEST = 0.38, 12, 40  # of the rest that the name of a stage may take, and columns


class _Name(ProgressColumn):
    """The stage's name, shortened in the middle where it does not fit."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        width = name_width(self._console.width)
        return Text(set_cell_size(fit_middle(task.description, width), width), no_wrap=True)


class _Note(ProgressColumn):
    """What the stage tells, cut off at the end where it does not fit."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        width = self._console.width - _FIXED - name_width(self._console.width)
        text = Text(str(task.fields["note"]), style="dim", no_wrap=True)
        text.truncate(max(1, width), overflow="ellipsis")
        return text


class Bars:
    """Draws each stage as a bar with its share, time left and epoch; finished stages stay, with the time they took.

    Whatever a stage is called, at 80 columns there is room for the bar, the time left and the accuracy of validation.

    Where the console is no terminal, each finished stage is a line.

    Args:
        console: to draw on.
        bars: of others, among which to draw.
    """

    def __init__(self, console: Console, bars: RichProgress | None = None) -> None:
        self._console = console
        self._live = console.is_terminal
        self._bars = bars or RichProgress(
            SpinnerColumn(finished_text="✓"),
            _Name(console),
            BarColumn(bar_width=_BAR),
            TaskProgressColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            _Note(console),
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

    def beside(self) -> "Bars":
        """Bars of stages that are worked at beside others, among theirs."""
        return Bars(self._console, self._bars)

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._stage, self._began, self._values = stage, time.perf_counter(), ""
        if self._live:
            self._task = self._bars.add_task(stage, total=total, completed=done, note="")

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:
        """Move the bar, and show what is given."""
        self._values = _told(note, values) or self._values
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


class _NotebookTable:
    """The one output below a cell: a row for each stage, those that are worked at last."""

    def __init__(self) -> None:
        from IPython.display import DisplayHandle  # noqa: PLC0415 - only a notebook has it

        self._handle: Any = DisplayHandle()  # type: ignore[no-untyped-call]
        self._shown = False
        self._finished: list[str] = []
        self._running: dict[int, str] = {}

    def draw(self, bar: int, row: str, *, finished: bool) -> None:
        """Draw the row of a bar; a finished one stays, and the next of its bar is another."""
        from IPython.display import HTML  # noqa: PLC0415

        self._running.pop(bar, None)
        if finished:
            self._finished.append(row)
        else:
            self._running[bar] = row
        content = HTML(f"<table>{''.join((*self._finished, *self._running.values()))}</table>")  # type: ignore[no-untyped-call]
        if self._shown:
            self._handle.update(content)
        else:
            self._handle.display(content)
            self._shown = True


class NotebookBars:
    """Draws all stages below a notebook's cell, in one output that stays when the notebook is saved.

    It needs IPython alone: the bars of rich and tqdm are widgets, which show nothing without ipywidgets, and nothing
    in a saved notebook.

    Args:
        table: of others, in which to draw.
    """

    def __init__(self, table: _NotebookTable | None = None) -> None:
        self._table = table or _NotebookTable()
        self._stage, self._total, self._done, self._first, self._note = "", 0, 0, 0, ""
        self._began = self._drawn = 0.0

    def beside(self) -> "NotebookBars":
        """Bars of stages that are worked at beside others, in the same output."""
        return NotebookBars(self._table)

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._stage, self._total, self._done, self._first, self._note = stage, total, done, done, ""
        self._began = time.perf_counter()
        self._draw()

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:
        """Move the bar, and show what is given."""
        self._done += units
        self._note = _told(note, values) or self._note
        if time.perf_counter() - self._drawn > _SECONDS:
            self._draw()

    def finish(self, note: str = "") -> None:
        """End the stage."""
        self._note = note or self._note
        self._done = self._total
        self._draw(finished=True)

    def _line(self, *, finished: bool) -> str:
        seconds = time.perf_counter() - self._began
        bar = "✓" if finished else f'<progress value="{self._done}" max="{max(1, self._total)}"></progress>'
        told = f"{seconds:.0f} s" if finished else self._left(seconds)
        cells = (bar, html.escape(self._stage), f"{self._done:,}/{self._total:,}", told)
        shown = "".join(f'<td style="text-align:left">{cell}</td>' for cell in (*cells, html.escape(self._note)))
        return f"<tr>{shown}</tr>"

    def _left(self, seconds: float) -> str:
        """The time left, if what was done since the stage began tells it."""
        done = self._done - self._first
        return f"{seconds / done * (self._total - self._done):.0f} s left" if done > 0 else ""

    def _draw(self, *, finished: bool = False) -> None:
        self._drawn = time.perf_counter()
        self._table.draw(id(self), self._line(finished=finished), finished=finished)


@contextlib.contextmanager
def watched(progress: Progress | None) -> Iterator[Progress]:
    """The progress that a caller gave, or the bars that suit where the call is made.

    Bars below the cell of a notebook, on standard error in a terminal, and none elsewhere: a library call prints
    nothing into a file or a pipe.

    Args:
        progress: receives the progress; None to choose as above.
    """
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # ours tell more
    if progress is not None:
        yield progress
    elif in_notebook():
        yield NotebookBars()
    elif sys.stderr.isatty():
        with Bars(text_console(stderr=True)) as bars:
            yield bars
    else:
        yield Silent()


def in_notebook() -> bool:
    """Whether this interpreter is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython  # noqa: PLC0415

    shell: Any = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _told(note: str, values: Mapping[str, float] | None) -> str:
    shown = "  ".join(f"{name} {value:.3g}" for name, value in (values or {}).items())
    return "  ".join(part for part in (note, shown) if part)


def name_width(columns: int) -> int:
    """Columns for the name of a stage."""
    return max(_SHORTEST, min(_LONGEST, int(_SHARE * (columns - _FIXED))))


def fit_middle(text: str, columns: int) -> str:
    """A text that takes so many columns at most, with an ellipsis in the place of its middle where it is longer."""
    if cell_len(text) <= columns:
        return text
    kept = columns - 1
    while cell_len(shorter := f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}") > columns:
        kept -= 1
    return shorter
