"""What a user wrote is printed as it was written: brackets are no markup."""

import ast
import io
from pathlib import Path

import pytest
from rich.table import Table

import persistill
from persistill.api.progress_bars import Bars
from persistill.api.text_console import text_console
from persistill.cli.entry_point import main

PACKAGE = Path(persistill.__file__).parent
NAMES = ("[examples]/mine.py", "a[/b]c", r"back\[slash]")


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def test_nothing_prints_markup() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        for call in calls(path):
            name = ast.unparse(call.func).rpartition(".")[2]
            options = {option.arg: ast.unparse(option.value) for option in call.keywords}
            markup = options.get("markup", str(name == "TextColumn"))
            made = name == "Console" and path.name != "text_console.py"
            if made or markup != "False" or name == "from_markup" or ast.unparse(call.func) == "escape":
                wrong.append(f"{path.relative_to(PACKAGE)}:{call.lineno}")
    assert wrong == []


@pytest.mark.parametrize("name", NAMES)
def test_brackets_stay_in_lines_tables_and_bars(name: str) -> None:
    console = text_console(file=io.StringIO(), force_terminal=True, color_system=None, width=100)
    console.print(f"1 {name}")
    table = Table(f"2 {name}", title=f"3 {name}", box=None)
    table.add_row(f"4 {name}")
    console.print(table)
    with Bars(console) as bars:
        bars.start(f"5 {name}", 1)
        bars.finish(f"6 {name}")
    shown = console.file.getvalue()
    assert [number for number in range(1, 7) if f"{number} {name}" not in shown] == []


def test_a_file_in_brackets_is_named_as_it_was_typed(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["check", "[examples]/mine.py"], ["predict", "[examples]/mine.py", "."]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        assert "[examples]/mine.py" in capsys.readouterr().err
