"""`import persistill` costs nothing, and gives everything; light commands and predictions start at once."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import persistill

HEAVY = {"torch", "torchvision", "timm", "numba", "matplotlib", "plotly", "datasets", "sklearn", "pandas", "scipy"}
MEMORY = 100e6
"""Bytes."""


def run(code: str, *arguments: object, cwd: Path) -> list[str]:
    """Run a program in an interpreter of its own; the last line of its output, the modules that it imported."""
    ending = "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{ending}", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return eval(done.stdout.splitlines()[-1])


COMMAND = """
from persistill.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        ["ls"],
        ["cp", "kd_digits"],
        *(
            [command, "--help"]
            for command in (
                "demo",
                "run",
                "sweep",
                "distill",
                "eval",
                "export",
                "predict",
                "push",
                "topology",
                "dashboard",
            )
        ),
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments, tmp_path):
    assert not HEAVY & set(run(COMMAND, *arguments, cwd=tmp_path))


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["ls"], ["cp", "kd_digits"]], ids=" ".join)
def test_light_commands_take_little_time_and_memory(arguments, tmp_path):
    code = f"""
import os, resource, subprocess
subprocess.run([sys.executable, "-c", {COMMAND!r}, *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024])
raise SystemExit
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, memory = eval(done.stdout.splitlines()[-1])
    assert memory < MEMORY
    assert seconds < 4 * reference(tmp_path)


def reference(cwd: Path) -> float:
    """Processor time of what a command line of this kind cannot do without, on this machine and as busy as it is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import typer, rich.console, rich.table, pydantic"], cwd=cwd, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_package_alone_imports_no_library(tmp_path):
    before = set(run("", cwd=tmp_path))
    assert set(run("import persistill", cwd=tmp_path)) - before <= {"persistill", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", sorted(set(persistill.__all__) - {"__version__"}))
def test_every_name_is_there(name):
    assert getattr(persistill, name) is not None
    assert name in dir(persistill)


def test_names_lead_into_the_packages(tmp_path):
    code = """
import persistill
assert persistill.losses.KD.__name__ == "KD"
assert callable(persistill.topology.cubical_persistence)
assert callable(persistill.models.build)
from persistill import export, exporters
assert callable(export) and persistill.export is export  # importing the package of exporters does not hide it
"""
    assert "torch" in run(code, cwd=tmp_path)


def test_a_wrong_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        persistill.distil  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'distil'"):
        from persistill import distil  # noqa: F401
