"""What an evaluation stores beside accuracy, NLL, ECE and noise, for made-up networks: drawn, not measured."""

from typing import Any

import numpy as np

CORRUPTIONS = ("gaussian_noise", "fog", "jpeg_compression", "speckle_noise")
CLASSES = 10


def further_metrics(random: np.random.Generator, accuracy: float, image: bool) -> dict[str, Any]:
    """In the layout of ``docs/evaluation.md``; a network of another view than "image" is not shown changed images."""

    def confidence() -> dict[str, float]:
        return {name: float(random.uniform(0, 0.3)) for name in ("brier", "ece_equal_mass", "classwise_ece")}

    found: dict[str, Any] = {
        "top_k": {"k": 5, "accuracy": float(accuracy + (1 - accuracy) * random.uniform())},
        **confidence(),
        "calibrated": {
            "temperature": float(random.uniform(0.5, 2)),
            "nll": float(random.uniform(0.2, 1)),
            "ece": float(random.uniform(0, 0.1)),
            **confidence(),
        },
        "aurc": float(random.uniform(0, 0.1)),
        "selective": {
            "coverage": [number / 20 for number in range(1, 21)],
            "accuracy": [float(accuracy + (1 - accuracy) * (1 - number / 20)) for number in range(1, 21)],
        },
        "v_measure": float(random.uniform()),
        "attacks": {},
        "ood": None,
        "corruptions": {},
    }
    if image:
        by_name = {
            name: {str(severity): float(accuracy * random.uniform(0.5, 1) / severity**0.2) for severity in range(1, 6)}
            for name in CORRUPTIONS
        }
        counted = [value for name, of in by_name.items() if name != "speckle_noise" for value in of.values()]
        found["attacks"] = {
            "images": 100,
            "steps": 10,
            "accuracy": accuracy,
            **{name: {level: float(random.uniform(0, accuracy)) for level in ("2", "8")} for name in ("fgsm", "pgd")},
        }
        found["ood"] = {
            "source": "digits",
            "images": 150,
            "max_softmax": float(random.uniform(0.5, 1)),
            "energy": float(random.uniform(0.5, 1)),
        }
        found["corruptions"] = {
            "accuracy": by_name,
            "images": 100,
            "clean": accuracy,
            "error": float(1 - np.mean(counted)),
        }
    return found


def cost(parameters: int) -> dict[str, Any]:
    """What a network of some size costs: times that grow with its size."""
    times = [
        {"batch": batch, "threads": threads, "median": m, "low": 0.9 * m, "high": 1.2 * m, "calls": 50}
        for batch in (1, 64)
        for threads in (1, 2)
        if (m := parameters * batch / threads / 1e8)
    ]
    return {
        "parameters": parameters,
        "macs": 180 * parameters,
        "bytes": 4 * parameters + 800,
        "memory": {"1": 6 * parameters, "64": 60 * parameters},
        "latency": times,
        "joules": None,
    }


def features(random: np.random.Generator, target: np.ndarray) -> dict[str, np.ndarray]:
    """Inner products of maps on ten images of each class, and embeddings of sixty images."""
    rows = np.argsort(target, kind="stable")[: 10 * CLASSES : 2]
    found = {"similarity_rows": rows, "embedding_rows": np.arange(60), "embedding": random.normal(size=(60, 8))}
    for stage in ("stage1", "stage2", "stage3"):
        maps = np.abs(random.normal(size=(len(rows), 12))) + np.eye(CLASSES, 12)[target[rows]]
        found[f"gram_{stage}"] = (maps @ maps.T).astype(np.float32)
    return found
