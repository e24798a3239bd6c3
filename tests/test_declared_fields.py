"""The fields of persistence images are declared in one place; everything else takes them from there."""

import ast
import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.models import OptionInfo

import persistill
from persistill.cli.topology import topology
from persistill.dashboard.explorer_fields import CELLS, SETTINGS, explorer_fields
from persistill.data import CubicalView, FittedPersistenceView, PersistenceView
from persistill.errors import UserError
from persistill.topology import PersistenceImageConfig, fit_persistence_images
from persistill.topology.persistence_image import fields
from persistill.topology.persistence_image.fields import FIELDS, FieldDeclaration
from persistill.topology.scans import SCANS

PACKAGE = Path(persistill.__file__).parent
LEFT_OUT = {
    PACKAGE / "topology" / "persistence_image" / "fields.py",  # where they are declared
    PACKAGE / "topology" / "persistence_image" / "gaussian_density.py",  # GUDHI's settings, of another vectorization
}
FITTED = {
    **FIELDS,
    "pixels": fields.FITTED_PIXELS,
    "scaling": fields.FITTED_SCALING,
    "quantile": fields.QUANTILE,
    "scans": fields.SCANS,
}


def test_the_settings_have_the_declared_fields_and_no_others():
    found = {field.name: field.default for field in dataclasses.fields(PersistenceImageConfig)}
    assert found == {name: field.default for name, field in FIELDS.items()}
    for name, field in FIELDS.items():
        assert get_args(get_type_hints(PersistenceImageConfig)[name]) == field.choices or not field.choices


def test_fitting_has_the_declared_defaults():
    found = inspect.signature(fit_persistence_images).parameters
    for name in ("pixels", "quantile", "min_persistence", "weight", "scaling"):
        assert found[name].default == FITTED[name].default


@pytest.mark.parametrize(
    ("view", "declared"),
    [
        (PersistenceView, {**FIELDS, "scans": fields.SCANS}),
        (FittedPersistenceView, FITTED),
        (CubicalView, FITTED),
    ],
)
def test_views_have_the_declared_defaults_and_ranges(view, declared):
    for name, field in view.model_fields.items():
        if name in declared and field.default is not None:
            assert field.default == declared[name].default
    if "quantile" in view.model_fields:
        for wrong in (fields.QUANTILE.above, fields.QUANTILE.at_most + 0.01):
            with pytest.raises(UserError, match="quantile"):
                view(quantile=wrong)
        assert view(quantile=fields.QUANTILE.at_most).quantile == fields.QUANTILE.at_most
    with pytest.raises(UserError, match="min_persistence"):
        view(min_persistence=fields.MIN_PERSISTENCE.at_least - 0.01)
    with pytest.raises(UserError, match="pixels"):
        view(pixels=(4, fields.PIXELS.at_least - 1))


def test_options_have_the_declared_help_and_form():
    options = {
        name: next(one for one in hint.__metadata__ if isinstance(one, OptionInfo))
        for name, hint in get_type_hints(topology, include_extras=True).items()
        if name in {*FIELDS, "scans"}
    }
    assert set(options) == {*FIELDS, "scans"}
    for name, option in options.items():
        assert option.help.startswith(FITTED[name].help)
    assert options["weight"].metavar == f"<{'|'.join(fields.WEIGHT.choices)}>"
    assert options["pixels"].metavar == "50x50"
    assert options["births"].metavar == "0,0.3"
    assert inspect.signature(topology).parameters["scans"].default.split(",") == list(fields.SCANS.default)
    assert f"{fields.MIN_PERSISTENCE.default:g} for persistence images" in options["min_persistence"].help


def test_the_explorer_shows_the_published_settings():
    found = json.loads(json.dumps(explorer_fields()))
    published = PersistenceImageConfig.tgd().to_json()
    assert found["published"] == {**{name: published[name] for name in SETTINGS}, "cells": published["pixels"][0]}
    assert found["cells"] == list(CELLS)
    assert CELLS[0] == fields.PIXELS.at_least
    assert tuple(found["weights"]) == fields.WEIGHT.choices


def test_every_scan_is_there():
    assert tuple(SCANS) == fields.SCANS.choices


@pytest.mark.parametrize(
    ("field", "inside", "outside"),
    [
        (fields.QUANTILE, (0.51, 1), (0.5, 1.01, float("nan"))),
        (fields.BANDWIDTH, (1e-9, 5), (0, -1, float("nan"))),
        (fields.MIN_PERSISTENCE, (0, 0.5), (-1e-9,)),
        (FieldDeclaration("anything", 0.0), (-5, 5), ()),
    ],
)
def test_bounds(field, inside, outside):
    assert all(field.allows(number) for number in inside)
    assert not any(field.allows(number) for number in outside)


def test_bounds_are_told_in_words():
    assert fields.QUANTILE.allowed == "above 0.5 and at most 1"
    with pytest.raises(ValueError, match=r"bandwidth must be above 0; got 0\.$"):
        PersistenceImageConfig(bandwidth=0)
    with pytest.raises(ValueError, match=r"min_persistence must be 0 or more; got -1\.$"):
        PersistenceImageConfig(min_persistence=-1)


def stated(source: str) -> list[str]:
    """Declared names that get a literal as their default, in classes or functions."""
    pairs = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            pairs.append((node.target.id, node.value))
        elif isinstance(node, ast.arguments):
            plain = [*node.posonlyargs, *node.args]
            pairs += zip((one.arg for one in plain[len(plain) - len(node.defaults) :]), node.defaults, strict=True)
            pairs += zip((one.arg for one in node.kwonlyargs), node.kw_defaults, strict=True)
    found = []
    for name, default in pairs:
        literals = default.elts if isinstance(default, ast.Tuple) else [default]
        # 0 as the shortest bar, of functions that make diagrams, keeps all bars: no setting of persistence images.
        given = [one.value for one in literals if isinstance(one, ast.Constant) and one.value not in (None, 0)]
        if name in FITTED and given:
            found.append(name)
    return found


@pytest.mark.parametrize("folder", ["topology/persistence_image", "data/views", "cli", "dashboard"])
def test_no_other_file_states_a_default(folder):
    files = [file for file in (PACKAGE / folder).rglob("*.py") if file not in LEFT_OUT]
    assert files
    for file in files:
        assert stated(file.read_text(encoding="utf-8")) == [], file


def test_a_stated_default_is_found():
    assert stated("class A:\n    pixels: tuple[int, int] = (50, 50)") == ["pixels"]
    assert stated("def f(births, *, quantile: float = 0.99, bandwidth=None): ...") == ["quantile"]
    assert stated("def f(a, scale=1.0): ...") == ["scale"]
    assert stated("class A:\n    pixels: tuple[int, int] = PIXELS.default") == []


def test_the_page_of_the_explorer_states_no_published_value():
    script = (PACKAGE / "dashboard" / "pages" / "explorer.js").read_text(encoding="utf-8")
    for value in ("0.3", "0.02", "= 50"):
        assert value not in script


def test_the_declaration_imports_no_library():
    code = f"import sys, {fields.__name__}; print(sorted({{'numpy', 'torch', 'numba', 'pydantic'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
