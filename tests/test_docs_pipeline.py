"""What the page on the pipeline says of the code is true: files, names, and who may import what."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from test_import_rule import EVERYTHING, MAY_IMPORT

from persistill.run_folder import Kind

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "pipeline.md").read_text(encoding="utf-8")
STEPS = re.findall(r"`(persistill/[\w/]+\.py)`,\s`([\w.]+)`", PAGE)


def rows(header: str) -> dict[str, list[str]]:
    """First cell of a table's rows -> the other cells."""
    _, _, rest = PAGE.partition(header)
    found = {}
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        found[first] = others
    return found


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_the_walk_leads_past_what_exists(file: str, name: str) -> None:
    names = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    assert name in names


def test_the_walk_has_ten_steps() -> None:
    _, _, walk = PAGE.partition("## A walk through the code")
    walk, _, _ = walk.partition("\n## ")
    assert [int(number) for number in re.findall(r"^(\d+)\. ", walk, re.MULTILINE)] == list(range(1, 11))
    assert len(STEPS) >= 10


def test_every_kind_of_stage_has_its_file_and_its_row() -> None:
    files = {path.stem for path in (ROOT / "persistill/pipeline/stages").glob("*.py")} - {"__init__"}
    assert files == set(get_args(Kind)) == set(rows("| stage | what it does | depends on |"))


def test_the_table_of_imports_is_that_of_the_test() -> None:
    stated = {name.strip("`"): cells[-1] for name, cells in rows("| package or module | holds | may import |").items()}
    expected = {room: ", ".join(f"`{other}`" for other in sorted(others)) for room, others in MAY_IMPORT.items()}
    expected = {room: others or "nothing of ours" for room, others in expected.items()}
    assert stated == {**expected, **dict.fromkeys(EVERYTHING, "everything")}
