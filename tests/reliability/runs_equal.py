"""What two run folders that were made of the same inputs have in common: all but times, and what depends on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

LEFT_OUT = frozenset({"tensorboard", "files.json", "report.html"})
"""``files.json`` holds the hashes of the others; a report is written again after its stage."""
TIMES = frozenset(
    {"seconds", "created", "latency", "memory", "milliseconds", "throughput", "images_per_second", "times", "timed"}
)


def content(folder: Path, *, report: bool = False) -> dict[str, Any]:
    """Relative path -> what is comparable of a file, hidden files included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    inside = {path: path.relative_to(folder) for path in files}
    left_out = LEFT_OUT - {"report.html"} if report else LEFT_OUT
    return {name.as_posix(): _comparable(path) for path, name in inside.items() if name.parts[0] not in left_out}


def differences(first: Path, second: Path, *, report: bool = False) -> list[str]:
    """Names of files that differ or that only one of two folders holds; ``report.html`` is one of them if wanted."""
    one, other = content(first, report=report), content(second, report=report)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _comparable(path: Path) -> Any:
    if path.suffix == ".json":
        return _untimed(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".jsonl":
        return [_untimed(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: (arrays[name].dtype.str, arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}
    return path.read_bytes()


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untimed(item) for name, item in value.items() if name not in TIMES}
    return [_untimed(item) for item in value] if isinstance(value, list) else value
