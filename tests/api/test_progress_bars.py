import io
import sys
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from persistill.api import progress_bars
from persistill.api.progress_bars import Bars, NotebookBars, fit_middle, in_notebook, watched
from persistill.utils.progress import Silent, beside


def tell(progress: Any) -> None:
    progress.start("<training>", 4, done=1)
    progress.advance(1, "epoch 1/2", {"ce": 0.5})
    progress.advance(2, values={"ce": 0.25})
    progress.finish()


def test_a_terminal_shows_bars_and_a_file_lines() -> None:
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=150)
        with Bars(console) as bars:
            tell(bars)
        shown = console.file.getvalue()
        assert "<training>" in shown
        assert "ce 0.25" in shown
        assert ("100%" in shown) == terminal


LONG = "evaluation of student tgd+standardized-kd-seed0 on corrupted images"


@pytest.mark.parametrize("columns", [80, 100, 140])
@pytest.mark.parametrize("stage", ["training", LONG, "学生" * 40], ids=["short", "long", "wide"])
def test_bar_time_and_accuracy_are_readable_at_any_width(columns: int, stage: str) -> None:
    console = Console(file=io.StringIO(), width=columns, record=True, force_terminal=True, color_system=None)
    bars = Bars(console)
    bars.start(stage, 100)
    bars.advance(40, "val accuracy 0.712  epoch 12/30", {"ce": 0.5, "similarity": 0.25})
    console.print(bars._bars.get_renderable())
    lines = console.export_text().rstrip("\n").splitlines()
    assert len(lines) == 1
    assert cell_len(lines[0]) <= columns
    assert f" {4 * '━'}{6 * ' '}  40% " in lines[0]  # the rest of the bar is drawn in color
    for shown in (stage[:4], stage[-4:], "-:--:--", "val accuracy 0.712  epoch 12/30"):
        assert shown in lines[0], (shown, lines[0])


def test_a_long_text_loses_its_middle() -> None:
    assert fit_middle("short", 5) == "short"
    assert fit_middle("abcdefghij", 7) == "abc…hij"
    assert fit_middle("学生学生", 5) == "学…生"


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a notebook shows: (how, HTML)."""
    pytest.importorskip("IPython")
    from IPython.display import DisplayHandle

    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(DisplayHandle, "display", lambda _, content: shown.append(("display", content.data)))
    monkeypatch.setattr(DisplayHandle, "update", lambda _, content: shown.append(("update", content.data)))
    return shown


def test_a_notebook_shows_one_output_that_grows(cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bars, "_SECONDS", 0.0)
    bars = NotebookBars()
    tell(bars)
    tell(bars)
    assert [how for how, _ in cell] == ["display"] + ["update"] * 7
    assert '<progress value="1" max="4">' in cell[0][1]
    assert "epoch 1/2  ce 0.5" in cell[1][1]
    assert " s left<" in cell[1][1]
    assert " s left<" not in cell[0][1]
    assert cell[-1][1].count("<tr>") == 2
    assert "<progress" not in cell[-1][1]
    assert "&lt;training&gt;" in cell[-1][1]


def test_stages_side_by_side_share_the_output_of_a_notebook(cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bars, "_SECONDS", 0.0)
    bars = NotebookBars()
    other = bars.beside()
    bars.start("first", 4)
    other.start("second", 4)
    assert [how for how, _ in cell] == ["display", "update"]
    assert cell[-1][1].index("first") < cell[-1][1].index("second")
    other.finish()
    assert cell[-1][1].index("second") < cell[-1][1].index("first")  # what is finished stays above
    bars.finish()
    assert cell[-1][1].count("✓") == 2


def test_bars_suit_the_place(monkeypatch: pytest.MonkeyPatch, cell) -> None:
    given = Silent()
    with watched(given) as progress:
        assert progress is given
    with watched(None) as progress:
        assert isinstance(progress, Silent)  # standard error is a pipe here
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with watched(None) as progress:
        assert isinstance(progress, Bars)
    assert not in_notebook()
    monkeypatch.setattr(progress_bars, "in_notebook", lambda: True)
    with watched(None) as progress:
        assert isinstance(progress, NotebookBars)


def test_stages_side_by_side_are_each_told_whole():
    said = io.StringIO()
    bars = Bars(Console(file=said, width=120))
    other = bars.beside()
    bars.start("first", 10)
    other.start("second", 5)
    bars.advance(10, "a")
    other.advance(5, "b")
    other.finish()
    bars.finish("done")
    first, second = said.getvalue().splitlines()
    assert (first.startswith("second: "), first.endswith("  b")) == (True, True)
    assert (second.startswith("first: "), second.endswith("  done")) == (True, True)


def test_bars_of_stages_side_by_side_are_drawn_together():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Bars(console) as bars:
        other = bars.beside()
        bars.start("first", 10)
        other.start("second", 4)
        other.advance(1)
        assert [(task.description, task.completed) for task in bars._bars.tasks] == [("first", 0), ("second", 1)]
        assert other._bars is bars._bars


def test_a_progress_of_one_stage_at_a_time_is_told_of_others_when_they_are_finished():
    calls = []

    class Kept:
        def start(self, *arguments):
            calls.append(("start", *arguments))

        def advance(self, *arguments):
            calls.append(("advance", *arguments))

        def finish(self, *arguments):
            calls.append(("finish", *arguments))

    other = beside(Kept())
    other.start("second", 5, 2)
    other.advance(1, "half", {"loss": 1.0})
    other.advance(2)
    assert calls == []
    other.finish("done")
    assert calls == [("start", "second", 5, 2), ("advance", 3, "half", {"loss": 1.0}), ("finish", "done")]
