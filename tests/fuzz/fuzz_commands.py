"""Commands over run folders of which one file was changed: exit codes 0, 2 and 3, and never a fault."""

import contextlib
import io
import json
import os
import random
import shutil
from pathlib import Path

from mutations import dumped, mutated, mutated_bytes, sign
from PIL import Image

from persistill.cli import main
from persistill.dashboard.live import Live
from persistill.errors import UserError

_MEASURED = ("--device", "cpu", "--noise", "0.1", "--set", "corruptions=()", "--set", "attacks=()")
_READERS = {
    "student": ("ls", "predict", "eval", "report", "run", "dashboard"),
    "teacher": ("ls", "eval", "report", "run", "dashboard"),
    "features": ("ls", "report", "run"),
    "evaluation": ("predict", "report", "run", "dashboard"),
    "export": ("predict", "report", "run"),
    "cost": ("report", "run"),
    "comparison": ("ls", "report", "run", "dashboard"),
}
"""Kind of folder -> what reads it."""


def commands(draw: random.Random, place: Path) -> int:
    """Change one file of one folder, hashes made right again or not, and give one command that reads it."""
    runs, kind = place / "copied", draw.choice(list(_READERS))
    shutil.rmtree(runs, ignore_errors=True)
    shutil.copytree(place / "runs", runs)
    folder = draw.choice(sorted(runs.glob(f"{kind}-*")))
    path = draw.choice([*folder.glob("*.json")])
    whole = path.read_bytes()
    path.write_bytes(dumped(mutated(json.loads(whole), draw)) if draw.random() < 0.85 else mutated_bytes(whole, draw))
    if draw.random() < 0.8:
        sign(folder)
    command = draw.choice(_READERS[kind])
    if command == "dashboard":
        _look(Live(runs))
        return 1
    image = place / "image.png"
    Image.new("L", (8, 8)).save(image)
    recipe = place / "recipe.py"
    recipe.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom tiny_run import RECIPE as recipe\n"
    )
    network = folder if kind in ("student", "teacher", "export") else min(runs.glob("student-kd-seed0-*"))
    words: dict[str, tuple[object, ...]] = {
        "ls": ("--out", runs),
        "predict": (network, image),
        "eval": (network, *_MEASURED),
        "report": (min(runs.glob("comparison-*")),),
        "run": (recipe, "--out", runs, "--device", "cpu"),
    }
    code, said = _called(place, command, *words[command])
    assert code in (0, 2, 3), (command, path.name, path.read_bytes()[:3000], said)
    assert code == 0 or "Traceback" not in said
    assert code == 0 or str(runs) in said or command == "predict", (command, said)
    return 1


def _called(place: Path, *words: object) -> tuple[int, str]:
    said, before = io.StringIO(), Path.cwd()
    os.chdir(place)  # where the story of a fault would be written
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main([str(word) for word in words])
    except SystemExit as stop:
        return int(stop.code or 0), said.getvalue()
    finally:
        os.chdir(before)
    raise AssertionError("main always leaves")


def _look(live: Live) -> None:
    seen = live.overview()
    json.dumps(seen, allow_nan=False)
    for run in seen["runs"]:
        if run["curves"]:
            with contextlib.suppress(UserError):
                json.dumps(live.curves(run["folder"]), allow_nan=False)


CASES = {"commands": commands}
