"""The embedding maps that a comparison stores, of made-up networks."""

import json
from pathlib import Path

import numpy as np


def mapped(folder: Path) -> dict[str, Path]:
    """Run folder of every teacher, and of the first seed of every arm -> folder of its evaluation."""
    done = json.loads((folder / "done.json").read_text())
    first = {row["arm"]: row for row in reversed(done["rows"])}
    entries = [*done["teachers"].values(), *reversed(first.values())]
    return {entry["run"]: folder.parent / entry["evaluation"] for entry in entries}


def keep_maps(folder: Path, images: int = 60) -> dict[str, np.ndarray]:
    """Write ``embedding_maps.npz`` into a comparison's folder, classes around a circle, and give what it holds."""
    random = np.random.default_rng(5)
    found: dict[str, np.ndarray] = {}
    for run, evaluation in mapped(folder).items():
        with np.load(evaluation / "predictions.npz") as file:
            target, answer = file["target"], file["logits"].argmax(1)
        if not found:
            found["rows"] = random.permutation(len(target))[:images]
            found["target"] = target[found["rows"]]
        angles = 2 * np.pi * found["target"] / 10
        places = np.stack([np.cos(angles), np.sin(angles)], 1) + random.normal(scale=0.2, size=(images, 2))
        found[f"map_{run}"] = places.astype(np.float32)
        found[f"answer_{run}"] = answer[found["rows"]]
    with (folder / "embedding_maps.npz").open("wb") as raw:
        np.savez_compressed(raw, **found)
    return found
