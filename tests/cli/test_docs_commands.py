"""Commands on the pages and in the README are commands that there are, with the options that they have."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from persistill.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The arguments of every call of persistill in the blocks for a shell."""
    lines = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ").splitlines()
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if "persistill" in line]
    return [one[1:] for one in words if one[:1] == ["persistill"]]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    group = typer.main.get_command(app)
    for arguments in commands(page):
        if arguments != ["--version"]:
            assert arguments[0] in group.commands, arguments
            group.commands[arguments[0]].make_context(arguments[0], arguments[1:])  # raises and names what is wrong


def test_a_command_that_there_is_not_is_noticed() -> None:
    found = typer.main.get_command(app).commands["distill"]
    with pytest.raises(Exception, match="--teachers"):
        found.make_context("distill", ["--data", "images", "--teachers", "resnet-20"])
