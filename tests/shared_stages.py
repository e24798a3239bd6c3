"""Stages that are worked at by several ranks, threads of this process, and what they leave."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ranks_in_threads import in_ranks

from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage
from persistill.run_folder import RunFolder
from persistill.utils.progress import Silent


def worked(context: Context, stage: Stage, size: int, root: Path) -> tuple[RunFolder, dict[str, Any]]:
    """Work at a stage in a folder below another root: the folder, and the first rank's result."""
    folder = RunFolder.create(root, stage.kind, stage.name, stage.inputs)

    def work(ranks: Any) -> dict[str, Any]:
        return stage.work(replace(context, ranks=ranks, progress=Silent()), folder)

    return folder, in_ranks(size, work)[0]


def assert_same_in_ranks(context: Context, stage: Stage, size: int, root: Path) -> None:
    """See that several ranks leave what a stage has left that one worked at, bit for bit."""
    alone = stage.open(context)
    folder, result = worked(context, stage, size, root)
    assert content(folder.path) == content(alone.path)
    expected = {name: value for name, value in alone.result().items() if name in result}
    assert json.dumps(untimed(result)) == json.dumps(untimed(expected))


def content(folder: Path) -> dict[str, Any]:
    """File name -> content of what a stage leaves, without times."""
    found: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                found[file.name] = {name: (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}
        elif file.suffix == ".json":
            found[file.name] = untimed(json.loads(file.read_text()))
        else:
            found[file.name] = file.read_bytes()
    for about in ("run.json", "files.json", "done.json"):
        found.pop(about, None)
    return found


def untimed(value: Any) -> Any:
    """Plain JSON without the times that are in it."""
    if isinstance(value, dict):
        return {name: untimed(item) for name, item in value.items() if name != "seconds"}
    return value
