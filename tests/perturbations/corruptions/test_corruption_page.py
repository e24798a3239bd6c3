"""The tables on the page say what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest

from persistill.perturbations.corruptions.registry import EXTRA_CORRUPTIONS, TABLE

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "corruptions.md").read_text(encoding="utf-8")
PARAMETERS = re.findall(r"^\| `(\w+)`(?: \(× 244 / 224\))? \|((?:[-0-9., ]+\|){5})$", PAGE, re.MULTILINE)


def test_every_corruption_has_its_rows():
    defined = re.findall(r"^\| (\*extra:\* )?`(\w+)` \|(?:[^|\n]+\|){2}$", PAGE, re.MULTILINE)
    assert [name for _, name in defined if name in TABLE] == list(TABLE)
    assert [name for extra, name in defined if extra] == list(EXTRA_CORRUPTIONS)
    assert [name for name, _ in PARAMETERS] == [*TABLE, *TABLE]


@pytest.mark.parametrize("name", TABLE)
def test_parameters_are_those_of_the_code(name):
    small, large = (
        [[float(value) for value in cell.split(",")] for cell in cells.strip("| ").split("|")]
        for found, cells in PARAMETERS
        if found == name
    )
    if name == "elastic_transform":
        large = np.array(large) * 244 / 224
    np.testing.assert_allclose(small, np.array(TABLE[name].small, dtype=float), rtol=1e-12)
    np.testing.assert_allclose(large, np.array(TABLE[name].large, dtype=float), rtol=1e-12)
