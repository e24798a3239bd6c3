"""Run what the tutorial says, in an empty folder, and keep what the commands print.

    python docs/_build/tutorial.py docs/tutorial.md docs/assets

Blocks of Python and of sh run in their order. A block of sh that is followed by a snippet, `--8<-- "FILE"`, writes it;
a plan is written where nothing else follows it.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r'```(python|sh)\n(.*?)```(?:\n+```text\n--8<-- "docs/assets/(\S+)")?', re.DOTALL)
PLAN = re.compile(r".*^These steps needed up to [^\n]*\n(?=.*\S)", re.DOTALL | re.MULTILINE)
WIDTH = 100


def main(page: str, assets: str) -> None:
    target = Path(assets).resolve()
    blocks = BLOCK.findall(Path(page).read_text(encoding="utf-8"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": str(WIDTH)}
    with tempfile.TemporaryDirectory() as folder:
        for language, code, name in blocks:
            command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
            shown = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
            ).stdout
            print(shown)
            if name:
                kept = PLAN.sub("", shown.replace(f"{Path(folder).resolve()}/", ""))
                lines = [line.rstrip() for line in kept.splitlines()]
                (target / name).write_text("\n".join(lines).strip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
