"""Write the plan and the recipe that docs/distill.md shows.

python docs/_build/distill_examples.py docs/assets
"""

import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

COMMON = ["persistill", "distill", "--data", "digits", "--teacher", "wrn-16-2", "--student", "resnet-8", "--dry-run"]

_WIDTH = 84


def main(target: str) -> None:
    assets = Path(target).resolve()
    with tempfile.TemporaryDirectory() as folder:
        shown = subprocess.run(
            [*COMMON, "--method", "kd", "--method", "tgd"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        lines = [line.rstrip() for line in shown.splitlines()]
        # Rows of tables are short, and wrapping would squeeze their blanks.
        plan = "\n".join(
            line if len(line) <= _WIDTH else textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in lines
        )
        (assets / "distill_plan.txt").write_text(plan[plan.index("Pictures") :] + "\n", encoding="utf-8")
        recipe = [*COMMON, "--method", "kd", "--save-recipe", "mine.py"]
        subprocess.run(recipe, cwd=folder, capture_output=True, check=True)
        text = (Path(folder) / "mine.py").read_text(encoding="utf-8")
        (assets / "distill_recipe.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
