"""The table on the page says what the code does."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from persistill.evaluation.corruptions.table import EXTRA_CORRUPTIONS, TABLE

PAGE = Path(__file__).resolve().parents[3] / "docs" / "corruptions.md"
ROWS = [
    row for row in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| (\*extra:\* )?`\w+_?\w+` \|", row)
]


def parameters(cell: str) -> tuple[tuple[float, ...], ...]:
    text, times, factor = cell.partition(", all ×")
    values = ast.literal_eval(f"[{text}]")
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    by = eval(factor) if times else 1
    return tuple(tuple(value * by for value in row) for row in rows)


def test_every_corruption_has_a_row():
    rows = [row for row in ROWS if row.count("|") == 6]
    assert re.findall(r"^\|[^`]*`(\w+)`", "\n".join(rows), re.MULTILINE) == list(TABLE)
    assert re.findall(r"^\| \*extra:\* `(\w+)`", "\n".join(rows), re.MULTILINE) == list(EXTRA_CORRUPTIONS)


@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_those_of_the_code(name):
    (row,) = [row for row in ROWS if f"`{name}` |" in row and row.count("|") == 6]
    small, large = [cell.strip() for cell in row.strip("| ").split(" | ")][-2:]
    for said, done in ((small, TABLE[name].small), (large, TABLE[name].large)):
        np.testing.assert_allclose(parameters(said), np.array(done, dtype=float), rtol=1e-12)
