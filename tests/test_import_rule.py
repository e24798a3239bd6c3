"""The arrows between the rooms run one way. What a file imports is read from its syntax tree, wherever it stands."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "persistill"
ENTRY = "persistill/__main__.py"
"""What ``python -m persistill`` runs: it calls the command line, and nothing imports it."""
FILES = sorted({path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")} - {ENTRY})

MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "utils": {"errors"},
    "settings": {"errors"},
    "structures": set(),
    "schemas": {"errors"},
    "ranks": {"errors", "structures", "utils"},
    "run_folder": {"errors", "schemas", "utils"},
    "storage": {"errors", "run_folder", "utils"},
    "topology": set(),
    "config": {"errors", "losses", "settings", "utils"},
    "models": {"errors", "schemas", "settings", "structures", "utils"},
    "losses": {"errors", "models", "schemas", "settings", "structures", "topology", "utils"},
    "perturbations": {"errors", "utils"},
    "data": {"config", "errors", "ranks", "settings", "structures", "topology", "utils"},
    "extraction": {"data", "errors", "run_folder", "topology", "utils"},
    "metrics": {"errors", "losses", "structures", "topology"},
    "training": {"config", "data", "errors", "losses", "models", "ranks", "run_folder", "structures", "utils"},
    "evaluation": {"config", "errors", "perturbations", "ranks", "schemas", "structures", "utils"},
    "report": {"errors", "run_folder", "schemas", "utils"},
    "exporters": {"errors", "models", "run_folder", "schemas", "structures", "utils"},
    "inference": {"errors", "exporters", "models", "run_folder", "schemas", "storage", "utils"},
    "tasks": {
        *("config", "data", "errors", "evaluation", "exporters", "losses", "metrics", "models", "perturbations"),
        *("ranks", "run_folder", "structures", "utils"),
    },
    "dashboard": {"data", "errors", "report", "run_folder", "topology", "utils"},
}
"""Package or module -> the others that it may import. Those that are not named here may import all but recipes."""

CHECKING = "TYPE_CHECKING"
EVERYTHING = {"api", "autoconfig", "cli", "pipeline"}

LIBRARIES: dict[str, set[str]] = {
    "errors": set(),
    "utils": {"PIL", "filelock", "fsspec", "numba", "numpy", "ray", "scipy", "torch"},
    "run_folder": set(),
    "schemas": {"pydantic"},
    "storage": {"platformdirs"},
    "settings": {"pydantic"},
    "structures": {"torch"},
    "ranks": {"torch"},
    "topology": {"llvmlite", "matplotlib", "numba", "numpy", "torch", "triton"},  # llvmlite is a part of numba
    "report": {"PIL", "jinja2", "matplotlib", "numpy", "plotly"},
    "inference": {"PIL", "numpy", "onnxruntime", "torch"},
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


def at_run_time(source: str) -> str:
    """The source without what stands under ``if TYPE_CHECKING:`` at its top level."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == CHECKING)]
    return ast.unparse(tree)


def violations(source: str, file: str) -> list[str]:
    """What a file imports against the rule, in words."""
    room = file.split("/")[1].removesuffix(".py")
    if room == "__init__":
        room = ""
        source = at_run_time(source)  # the package gives rooms lazily, and tells type checkers which
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
            problems.append(f"{file} imports {what}: import a room")
        elif not room and found.room == "version":
            pass  # all that the package itself holds
        elif room not in EVERYTHING and found.room not in {room, *MAY_IMPORT.get(room, set())}:
            problems.append(f"{file} imports {what}: {room or 'the package itself'} may not import {found.room}")
    return problems


@pytest.mark.parametrize("file", FILES)
def test_arrows_run_one_way(file):
    assert violations((ROOT / file).read_text(encoding="utf-8"), file) == []


def test_the_entry_imports_the_command_line_alone():
    assert imports((ROOT / ENTRY).read_text(encoding="utf-8"), ENTRY) == [Import("persistill.cli", "main")]


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
        ("persistill/inference/x.py", "from persistill.api.result import Result", "inference may not import api"),
        ("persistill/inference/x.py", "import timm", "imports the library timm"),
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
        ("persistill/cli/x.py", "from persistill import report\nimport persistill.pipeline.graph"),
        ("persistill/config/recipe.py", "import recipes_of_others"),
        ("persistill/__init__.py", "if TYPE_CHECKING:\n    from persistill.models import build"),
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
        ("__init__", {"torch", "numpy", "pydantic", "rich", "typer"}),
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


# --- between files ----------------------------------------------------------------------------------------------------

MOST_FLOORS = 10


def ran(source: str, file: str, *, lazy: bool) -> set[str]:
    """The files of ours that a file imports where its code runs: nothing below ``if TYPE_CHECKING`` does.

    Args:
        source: its text.
        file: its path.
        lazy: count imports inside functions as well, which run when the function is called.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if for_types or (not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            node.body = [ast.Pass()]
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    paths = set()
    for found in imports(ast.unparse(tree), file):
        # "from persistill.data import load" means data/__init__.py, "... import splits" the file of that name.
        path = modules.get(f"{found.module}.{found.name}", modules.get(found.module))
        if path not in (None, file):
            paths.add(path)
    return paths


def drawn(*, lazy: bool) -> dict[str, set[str]]:
    """File -> files that it imports."""
    return {file: ran((ROOT / file).read_text(encoding="utf-8"), file, lazy=lazy) for file in FILES}


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """A circle among arrows, the first again at its end; empty if there is none."""
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def longest_chain(arrows: dict[str, set[str]]) -> list[str]:
    """The longest way along arrows that form no circle."""
    chains: dict[str, list[str]] = {}
    for name in graphlib.TopologicalSorter(arrows).static_order():
        chains[name] = [name, *max((chains[other] for other in arrows.get(name, ())), key=len, default=[])]
    return max(chains.values(), key=len)


def between_rooms(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Package or module -> the others that its files import. What is reached through the package itself is left out."""
    rooms: dict[str, set[str]] = {}
    for file, others in arrows.items():
        room, *found = (path.split("/")[1].removesuffix(".py") for path in (file, *others))
        rooms.setdefault(room, set()).update(other for other in found if other not in (room, "__init__"))
    rooms.pop("__init__")
    return rooms


@pytest.mark.parametrize("lazy", [False, True])
def test_files_import_in_no_circle(lazy):
    assert circle(drawn(lazy=lazy)) == []


def test_there_are_at_most_ten_floors():
    chain = longest_chain(between_rooms(drawn(lazy=True)))
    assert len(chain) <= MOST_FLOORS, " -> ".join(chain)


def test_a_circle_of_files_can_be_seen():
    splits, loader = "persistill/data/splits.py", "persistill/data/dataloader.py"
    assert circle({splits: ran("from persistill.data import dataloader", splits, lazy=False), loader: {splits}})
    inside = "def f():\n    from persistill.data.dataloader import Loader"
    assert ran(inside, splits, lazy=False) == set()
    assert ran(inside, splits, lazy=True) == {loader}
    assert ran("if TYPE_CHECKING:\n    from . import dataloader", splits, lazy=True) == set()
    assert ran("class A:\n    from . import dataloader", splits, lazy=False) == {loader}
    arrows = drawn(lazy=False)
    arrows["persistill/errors.py"] = {"persistill/pipeline/runner.py"}
    assert circle(arrows)[0] == circle(arrows)[-1]


def test_floors_can_be_counted():
    assert longest_chain({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["a", "b", "c"]
    rooms = between_rooms(drawn(lazy=True))
    assert {"config", "data", "training"} <= rooms["pipeline"]
    above = longest_chain(rooms)
    assert longest_chain({**rooms, "roof": {above[0]}}) == ["roof", *above]
