"""Write the plans and the recipe that docs/distill.md shows.

python docs/_build/distill_examples.py docs/assets
"""

import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
from PIL import Image

COMMON = ["persistill", "distill", "--data", "digits", "--teacher", "wrn-16-2", "--student", "resnet-8", "--dry-run"]

INITIAL = ["persistill", "distill", "--data", "photos", "--teacher", "timm/test_resnet"]
INITIAL += ["--teacher-initial", "resnet_of_ten.safetensors", "--student", "timm/test_efficientnet"]
INITIAL += ["--student-initial", "efficientnet_of_ten.safetensors", "--method", "kd", "--seeds", "0,1", "--dry-run"]

_WIDTH = 84


def main(target: str) -> None:
    assets = Path(target).resolve()
    with tempfile.TemporaryDirectory() as folder:
        (assets / "distill_plan.txt").write_text(
            plan([*COMMON, "--method", "kd", "--method", "tgd"], folder), encoding="utf-8"
        )
        make_photos(Path(folder))
        (assets / "distill_initial.txt").write_text(plan(INITIAL, folder), encoding="utf-8")
        recipe = [*COMMON, "--method", "kd", "--save-recipe", "mine.py"]
        subprocess.run(recipe, cwd=folder, capture_output=True, check=True)
        text = (Path(folder) / "mine.py").read_text(encoding="utf-8")
        (assets / "distill_recipe.py").write_text(text, encoding="utf-8")


def plan(command: list[str], folder: str) -> str:
    """What a command prints from its plan on, as wide as the page."""
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    # Reasons were wrapped for a terminal; rows of tables are short, and wrapping would squeeze their blanks.
    joined = re.sub(r" *\n  (?=\S)", " ", shown[shown.index("Images ") :])
    lines = [line.rstrip() for line in joined.splitlines()]
    return "".join(
        (line if len(line) <= _WIDTH else textwrap.fill(line, _WIDTH, subsequent_indent="  ")) + "\n" for line in lines
    )


def make_photos(folder: Path) -> None:
    """Noise in place of photographs, and weights of networks that tell ten classes apart: a plan is of numbers only."""
    noise = np.random.default_rng(0)
    for name in ("cat", "dog", "horse", "ship"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(120):
            pixels = noise.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.png")
    for name in ("resnet", "efficientnet"):
        state = timm.create_model(f"test_{name}", num_classes=10).state_dict()
        safetensors.torch.save_file(state, folder / f"{name}_of_ten.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
