"""The arrows between the rooms run one way. What a file imports is read from its syntax tree, wherever it stands."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "persistill"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "utils": {"errors"},
    "settings": {"errors"},
    "structures": {"utils"},
    "run_folder": {"errors", "utils"},
    "topology": set(),
    "config": {"errors", "settings", "structures"},
    "models": {"errors", "settings", "structures", "utils"},
    "losses": {"errors", "settings", "structures", "topology", "utils"},
    "perturbations": {"errors"},
    "data": {"config", "errors", "settings", "structures", "topology", "utils"},
    "metrics": {"errors", "losses", "structures", "topology"},
    "training": {"config", "data", "errors", "losses", "run_folder", "structures", "utils"},
    "evaluation": {"config", "data", "errors", "losses", "metrics", "perturbations", "structures", "utils"},
    "report": {"errors", "run_folder", "utils"},
    "exporters": {"errors", "models", "run_folder", "structures", "utils"},
    "dashboard": {"data", "errors", "report", "run_folder", "topology", "utils"},
}
"""Package or module -> the others that it may import. Those that are not named here may import all but recipes."""

EVERYTHING = {"autoconfig", "cli", "pipeline"}

LIBRARIES: dict[str, set[str]] = {
    "errors": set(),
    "utils": {"PIL", "numba", "numpy", "torch"},
    "run_folder": set(),
    "settings": {"pydantic"},
    "structures": {"torch"},
    "topology": {"llvmlite", "matplotlib", "numba", "numpy", "torch", "triton"},  # llvmlite is a part of numba
    "report": {"PIL", "jinja2", "matplotlib", "numpy", "plotly"},
    "dashboard": {"PIL", "numpy", "plotly", "sklearn"},
}
"""Package or module -> the libraries that it may import beside Python's own, where that matters."""


class Import(NamedTuple):
    """One name that a file imports: a module and, after "from", what it takes of it ("" for the module itself)."""

    module: str
    name: str

    @property
    def room(self) -> str | None:
        """The room of ours that is meant, "" for the package itself, None for other people's modules."""
        head, *rest = self.module.split(".")
        if head != "persistill":
            return None
        if rest:
            return rest[0]
        is_room = (PACKAGE / self.name).is_dir() or (PACKAGE / f"{self.name}.py").is_file()
        return self.name if self.name and is_room else ""


def imports(source: str, file: str) -> list[Import]:
    """All imports of a file, with relative ones resolved."""
    package = file.removesuffix(".py").split("/")[:-1]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found += [Import(module, alias.name) for alias in node.names]
    return found


def violations(source: str, file: str) -> list[str]:
    """What a file imports against the rule, in words."""
    room = file.split("/")[1].removesuffix(".py")
    if room == "__init__":
        room = ""
    problems = []
    for found in imports(source, file):
        what = f"{found.module}{'.' * bool(found.name)}{found.name}"
        if what.removeprefix("persistill.").split(".")[0] == "recipes":
            problems.append(f"{file} imports the recipe {what}")
        elif found.room is None:
            head = found.module.split(".")[0]
            if room in LIBRARIES and head not in LIBRARIES[room] | sys.stdlib_module_names:
                problems.append(f"{file} imports the library {head}")
        elif found.room == "":
            # The version, and nothing else, lies in the package itself.
            if found.name != "__version__":
                problems.append(f"{file} imports {what}: import a room")
        elif room not in EVERYTHING and found.room not in {room, *MAY_IMPORT.get(room, set())}:
            problems.append(f"{file} imports {what}: {room or 'the package itself'} may not import {found.room}")
    return problems


@pytest.mark.parametrize("file", FILES)
def test_arrows_run_one_way(file):
    assert violations((ROOT / file).read_text(encoding="utf-8"), file) == []


def test_every_room_has_its_row():
    rooms = {file.split("/")[1].removesuffix(".py") for file in FILES} - {"__init__"}
    assert rooms - EVERYTHING == set(MAY_IMPORT), "add the new room to the table, and to the one in docs/pipeline.md"


def test_the_table_itself_has_no_circles():
    done: set[str] = set()
    while len(done) < len(MAY_IMPORT):
        ready = {room for room, others in MAY_IMPORT.items() if room not in done and others <= done}
        assert ready, f"circles among {sorted(set(MAY_IMPORT) - done)}"
        done |= ready


@pytest.mark.parametrize(
    ("file", "source", "said"),
    [
        ("persistill/topology/x.py", "from persistill.errors import UserError", "topology may not import errors"),
        ("persistill/topology/x.py", "from ..errors import UserError", "topology may not import errors"),
        ("persistill/topology/x.py", "from .. import losses", "topology may not import losses"),
        ("persistill/models/x.py", "import persistill.training", "models may not import training"),
        ("persistill/models/x.py", "from persistill import losses", "models may not import losses"),
        ("persistill/losses/x.py", "def f():\n    from persistill.data import Loader", "losses may not import data"),
        ("persistill/structures.py", "if TYPE_CHECKING:\n    from persistill.losses import KD", "structures may not"),
        (
            "persistill/evaluation/x.py",
            "import persistill.training.trainer as fit",
            "evaluation may not import training",
        ),
        ("persistill/evaluation/x.py", "from persistill.run_folder import RunFolder", "may not import run_folder"),
        ("persistill/data/x.py", "import persistill.run_folder", "data may not import run_folder"),
        ("persistill/report/x.py", "import torch.nn", "imports the library torch"),
        ("persistill/report/x.py", "from persistill.structures import Features", "report may not import structures"),
        ("persistill/run_folder.py", "import numpy as np", "imports the library numpy"),
        ("persistill/__init__.py", "from persistill.models import build", "the package itself may not import models"),
        ("persistill/new_room.py", "import persistill.errors", "new_room may not import errors"),
        ("persistill/cli/x.py", "from recipes import tgd_digits", "imports the recipe recipes.tgd_digits"),
        ("persistill/pipeline/graph.py", "import persistill.recipes.tgd_digits", "imports the recipe"),
        ("persistill/pipeline/graph.py", "from persistill import recipes", "imports the recipe"),
        ("persistill/pipeline/graph.py", "from persistill import UserError", "import a room"),
    ],
)
def test_the_rule_can_be_broken(file, source, said):
    (problem,) = violations(source, file)
    assert said in problem


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("persistill/topology/x.py", "import torch\nfrom persistill.topology.diagrams import Diagrams"),
        ("persistill/topology/x.py", "from . import diagrams\nfrom .diagrams import Diagrams"),
        ("persistill/data/x.py", "from persistill.utils.atomic_io import atomic"),
        ("persistill/training/x.py", "from persistill.run_folder import RunFolder"),
        ("persistill/cli/x.py", "from persistill import __version__, report\nimport persistill.pipeline.graph"),
        ("persistill/config/recipe.py", "import recipes_of_others"),
        ("persistill/report/x.py", "import json, numpy\nfrom plotly.offline import get_plotlyjs"),
    ],
)
def test_the_rule_can_be_kept(file, source):
    assert violations(source, file) == []


def test_topology_knows_of_no_student():
    for file in (PACKAGE / "topology").rglob("*.py"):
        assert "student" not in file.read_text(encoding="utf-8").lower(), file


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("report", {"torch", "torchvision", "timm", "numba", "pydantic"}),
        ("run_folder", {"torch", "numpy", "pydantic"}),
        ("__init__", {"torch", "numpy", "pydantic"}),
    ],
)
def test_light_rooms_stay_light(room, forbidden):
    # In an interpreter of its own, with all files of the room: what is imported on the way counts too.
    files = [file for file in FILES if file.split("/")[1].removesuffix(".py") == room]
    modules = [file.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for file in files]
    assert modules
    code = f"import sys, {', '.join(modules)}; print(sorted({forbidden!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
