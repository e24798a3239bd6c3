"""The images that a comparison keeps, of made-up networks."""

import json
from pathlib import Path
from typing import Any

import numpy as np


def answers(folder: Path, entry: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a network's evaluation, and the right classes."""
    with np.load(folder.parent / entry["evaluation"] / "predictions.npz") as file:
        return file["logits"].astype(np.float64), file["target"]


def keep_images(
    folder: Path,
    *,
    shape: tuple[int, int, int] = (3, 32, 32),
    view: tuple[int, int, int] = (6, 50, 50),
    few: int = 5,
    **changes: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Write ``images.npz`` into a comparison's folder, and give what it holds.

    Args:
        folder: the comparison's.
        shape: of an image.
        view: of what the topology teachers see.
        few: how many images are kept of each kind.
        changes: arrays that replace those of these names; None leaves one out.
    """
    done = json.loads((folder / "done.json").read_text())
    settings = json.loads((folder / "run.json").read_text())["inputs"]["recipe"]["teachers"]
    views = {name: settings[name]["view"] for name in done["teachers"]}
    surprise: Any = 0
    for row in done["rows"]:
        logits, target = answers(folder, row)
        surprise = surprise + np.log(np.exp(logits).sum(1)) - logits[np.arange(len(target)), target]
    chosen = {"hardest": np.argsort(-surprise)[:few]}
    for first in (name for name in views if views[name] == "image"):
        for second in (name for name in views if views[name] != "image"):
            (one, target), (other, _) = (answers(folder, done["teachers"][name]) for name in (first, second))
            alone = [row for row in range(len(target)) if other[row].argmax() == target[row] != one[row].argmax()]
            alone.sort(key=lambda row: -np.exp(other[row]).max() / np.exp(other[row]).sum())
            chosen[f"only_{second}_not_{first}"] = np.array(alone[:few], np.int64)
    rows = np.unique(np.concatenate(list(chosen.values())))
    random = np.random.default_rng(3)
    arrays = {
        "rows": rows,
        "target": target[rows],
        "images": random.integers(0, 256, (len(rows), *shape), dtype=np.uint8),
        **{name: np.searchsorted(rows, of) for name, of in chosen.items()},
        **{
            f"view_{name}": random.integers(0, 256, (len(rows), *view), dtype=np.uint8)
            for name in views.values()
            if name != "image"
        },
        **changes,
    }
    arrays = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "images.npz", **arrays)
    return arrays
