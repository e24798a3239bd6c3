"""What can be told of the Dockerfile without building it."""

import fnmatch
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
STEPS = [tuple(line.split(maxsplit=1)) for line in LINES if line and not line.startswith("#")]


def given(instruction: str) -> list[str]:
    return [rest for name, rest in STEPS if name == instruction]


def test_all_that_the_package_is_built_from_is_copied_and_not_ignored() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hatch = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *hatch["packages"],
        *hatch["force-include"],
    }
    copied = {source for line in given("COPY") for source in line.split()[:-1]}
    assert copied == needed
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == needed
    assert "*" in ignored


def test_its_base_has_a_version_that_the_package_runs_on() -> None:
    (version,) = [rest.removeprefix("PYTHON=") for rest in given("ARG") if rest.startswith("PYTHON=")]
    assert re.fullmatch(r"3\.\d+\.\d+", version)
    assert given("FROM") == ["python:${PYTHON}-slim-bookworm"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert f"Programming Language :: Python :: {version.rpartition('.')[0]}" in classifiers


def test_it_runs_the_command_as_no_root_and_holds_no_secret() -> None:
    assert given("ENTRYPOINT") == ['["persistill"]']
    assert given("USER") == ["persistill"]
    assert STEPS.index(("USER", "persistill")) > max(place for place, step in enumerate(STEPS) if step[0] == "RUN")
    for name in ("token", "password", "secret", "key"):
        assert not [line for line in LINES if fnmatch.fnmatch(line.lower(), f"*{name}*=*")]


def test_extras_and_devices_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    arguments = dict(rest.split("=") for rest in given("ARG"))
    assert set(arguments["EXTRAS"].split(",")) <= set(extras)
    assert f" {arguments['DEVICE']}) " in given("RUN")[0]
