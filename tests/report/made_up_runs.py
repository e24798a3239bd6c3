"""Run folders as a pipeline leaves them, for made-up networks whose figures scikit-learn computed."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from made_up_examples import keep_images
from made_up_maps import keep_maps
from made_up_metrics import cost, features, further_metrics
from sklearn.metrics import accuracy_score, log_loss

from persistill.run_folder import RunFolder
from persistill.utils.atomic_io import atomic

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TERMS = {
    "alone": {"ce": 1.0},
    "kd": {"ce": 0.1, "kd": 0.9},
    "tgd": {"ce": 0.1, "kd": 0.9, "sp": 1000.0},
}
NOISE = (0.02, 0.04, 0.08)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def expected_calibration_error(target: np.ndarray, logits: np.ndarray, bins: int = 15) -> float:
    """By definition, one bin after another."""
    probability = softmax(logits)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == target
    error = 0.0
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(error)


class Maker:
    """Writes run folders below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def network(self, kind: str, name: str, seed: int, *, skill: float, terms: dict[str, float], epochs: int) -> str:
        random = np.random.default_rng(zlib.crc32(f"{kind} {name} {seed}".encode()))
        folder = RunFolder.create(self.root, kind, f"{name}-seed{seed}", {"name": name, "seed": seed})
        for epoch in range(1, epochs + 1):
            folder.log(type="step", epoch=epoch, step=20 * epoch, loss=1.0, terms={}, weights={}, lr=0.1, seconds=1.0)
            fade = np.exp(-2.5 * epoch / epochs)
            means = {
                term: float((0.3 + 1.7 * fade) / (1 if term == "ce" else weight) * random.uniform(0.95, 1.05))
                for term, weight in terms.items()
            }
            accuracy = float(skill * (1 - fade) + random.uniform(-0.01, 0.01))
            folder.log(
                type="epoch",
                epoch=epoch,
                step=20 * epoch,
                epochs=epochs,
                loss=sum(weight * means[term] for term, weight in terms.items()),
                terms=means,
                weights=terms,
                lr=0.1,
                train_accuracy=min(1.0, accuracy + 0.05),
                validation={"accuracy": accuracy, "nll": float(2.3 * fade + 0.4)},
                seconds=3.0 * epoch,
            )
        folder.finish(
            {
                "epochs": epochs,
                "parameters": 175_066 if kind == "student" else 1_549_530,
                "train_accuracy": 0.9,
                "validation": {"accuracy": accuracy, "nll": 0.5},
                "seconds": 60.0 + random.uniform(0, 5),
            }
        )
        return folder.path.name

    def evaluation(
        self,
        name: str,
        seed: int,
        skill: float,
        noise: tuple[float, ...],
        images: int = 200,
        *,
        full: bool = False,
        image: bool = True,
    ) -> str:
        random = np.random.default_rng(zlib.crc32(f"{name} {seed} {skill}".encode()))
        target = np.arange(images) % len(CLASSES)
        logits = random.normal(size=(images, len(CLASSES))).astype(np.float32) * 1.3
        logits[np.arange(images), target] += 4 * skill
        arrays = {"target": target.astype(np.int64), "index": np.arange(images), "logits": logits}
        accuracies = {}
        for level in noise:
            worse = logits + random.normal(size=logits.shape) * 20 * level
            arrays[f"noise_{level:g}"] = worse.argmax(axis=1)
            accuracies[f"{level:g}"] = float(accuracy_score(target, worse.argmax(axis=1)))
        folder = RunFolder.create(
            self.root, "evaluation", f"{name}-seed{seed}", {"network": {"name": name, "seed": seed}}
        )
        with atomic(folder.file("predictions.npz")) as path, path.open("wb") as file:
            np.savez(file, **arrays)
        metrics: dict[str, Any] = {
            "accuracy": float(accuracy_score(target, logits.argmax(axis=1))),
            "nll": float(log_loss(target, softmax(logits))),
            "ece": expected_calibration_error(target, logits),
            "noise": accuracies,
        }
        if full:
            metrics |= further_metrics(random, float(metrics["accuracy"]), image)
            with atomic(folder.file("features.npz")) as path, path.open("wb") as file:
                np.savez(file, **features(random, target))
        folder.finish({"metrics": metrics, "images": images, "seconds": 1.5})
        return folder.path.name

    def view(self, name: str, images: int = 6, channels: int = 3, groups: tuple[str, ...] = ("rows", "columns")) -> str:
        random = np.random.default_rng(7)
        folder = RunFolder.create(self.root, "view", name, {"view": name})
        rows, columns = np.mgrid[0:32, 0:32] / 31
        blobs = random.uniform(0, 1, size=(images, channels, 3, 1, 1))
        image = (
            np.exp(-8 * ((rows - blobs[:, :, 0]) ** 2 + (columns - blobs[:, :, 1]) ** 2)) * 0.8 + 0.2 * blobs[:, :, 2]
        )
        count = channels * len(groups)
        points, offsets, rasters = [], [0], np.zeros((images, count, 50, 50), np.float32)
        grid = np.linspace(0, 1, 50)
        for number in range(images * count):
            births = random.beta(2, 4, size=random.integers(20, 60))
            lives = np.minimum(random.exponential(0.12, size=len(births)), 1 - births)
            points.append(np.stack([births, births + lives], axis=1))
            offsets.append(offsets[-1] + len(births))
            bumps = lives[:, None, None] * np.exp(
                -(
                    (grid[None, None, :] - births[:, None, None]) ** 2
                    + (grid[None, ::-1, None] - lives[:, None, None]) ** 2
                )
                / 0.001
            )
            rasters[divmod(number, count)] = bumps.sum(axis=0) / bumps.sum(axis=0).max()
        with atomic(folder.file("gallery.npz")) as path, path.open("wb") as file:
            np.savez(
                file,
                images=(image * 255).astype(np.uint8),
                target=np.arange(images) % len(CLASSES),
                view=rasters,
                values=np.concatenate(points).astype(np.float32),
                offsets=np.array(offsets, np.int64),
            )
        folder.finish(
            {
                "shape": [count, 50, 50],
                "mean": [0.1] * count,
                "std": [0.2] * count,
                "groups": list(groups),
                "settings": {"is": "PersistenceImageConfig", "pixels": 50, "bandwidth": 0.02},
                "explanation": "A persistence image is a diagram as a grid.",
                "count": {"train": 800},
                "seconds": 4.2,
            }
        )
        return folder.path.name

    def comparison(
        self,
        *,
        name: str = "synthetic",
        arms: tuple[str, ...] = ("alone", "kd", "tgd"),
        seeds: tuple[int, ...] = (0, 1, 2),
        epochs: int = 8,
        noise: tuple[float, ...] = NOISE,
        teachers: tuple[str, ...] = ("image", "persistence"),
        views: tuple[str, ...] = ("persistence",),
        classes: list[str] | None = None,
        exported: str | None = None,
        command: str = "persistill run recipes/synthetic.py",
        full: bool = False,
    ) -> Path:
        """A whole comparison; gives its folder. If not full, with the figures alone that the first version measured.

        The student of the first seed of an arm is exported, of the last arm if none is named.
        """
        recipe = {
            "is": "Recipe",
            "name": name,
            "data": {"is": "Data", "source": "uoft-cs/cifar10", "train": 1000},
            "student": {"is": "Model", "name": "wrn-16-1"},
            "arms": {
                arm: {
                    "is": "Arm",
                    "methods": _methods(arm, len(teachers)),
                    "teachers": [] if arm == "alone" else list(teachers),
                    "start": None,
                }
                for arm in arms
            },
            "teachers": {
                teacher: {"is": "Teacher", "view": teacher if teacher in views else "image"} for teacher in teachers
            },
            "seeds": list(seeds),
            "teacher_seed": 0,
            "evaluate": {"is": "Evaluate", "noise": list(noise), "ece_bins": 15},
        }
        rows = []
        for position, arm in enumerate(arms):
            skill = 0.62 + 0.04 * position
            terms = TERMS.get(arm, {"ce": 1.0})
            for seed in seeds:
                run = self.network("student", arm, seed, skill=skill, terms=terms, epochs=epochs)
                evaluation = self.evaluation(arm, seed, skill, noise, full=full)
                rows.append({"arm": arm, "seed": seed, "run": run, "evaluation": evaluation})
        found: dict[str, Any] = {}
        for position, teacher in enumerate(teachers):
            skill = 0.85 - 0.25 * position
            run = self.network("teacher", teacher, 0, skill=skill, terms={"ce": 1.0}, epochs=epochs)
            found[teacher] = {
                "run": run,
                "evaluation": self.evaluation(
                    f"teacher-{teacher}", 0, skill, noise, full=full, image=teacher == "image"
                ),
            }
        export = RunFolder.create(self.root, "export", arms[-1], {"of": arms[-1]})
        export.finish(
            {
                "files": {"safetensors": "model.safetensors", "onnx": "model.onnx"},
                "difference": {"safetensors": 0.0, "onnx": 2.4e-6},
                "images": 64,
            }
        )
        folder = RunFolder.create(self.root, "comparison", name, {"recipe": recipe})
        folder.finish(
            {
                "recipe": name,
                "command": command,
                "classes": CLASSES if classes is None else classes,
                "seconds": 812.0,
                "views": {view: self.view(view) for view in views},
                "teachers": found,
                "rows": rows,
                "export": export.path.name,
                "choice": self._choice(rows, exported or arms[-1]),
                **(self._beside(arms[0], rows, found) if full else {}),
            }
        )
        if full:
            keep_images(folder.path)
            keep_maps(folder.path)
        return folder.path

    def _choice(self, rows: list[dict[str, Any]], arm: str) -> dict[str, Any]:
        candidates = [
            {
                **{name: row[name] for name in ("arm", "seed", "run")},
                "value": RunFolder.open(self.root / row["run"]).result()["validation"]["accuracy"],
            }
            for row in rows
        ]
        chosen = next(candidate for candidate in candidates if candidate["arm"] == arm)
        return {**chosen, "figure": "accuracy", "images": 100, "candidates": candidates}

    def _beside(self, baseline: str, rows: list[dict[str, Any]], teachers: dict[str, Any]) -> dict[str, Any]:
        """What the comparison itself measures, with a folder for each architecture's cost."""
        random = np.random.default_rng(11)
        places = {}
        for name, parameters in (("student", 175_066), ("teacher", 1_549_530)):
            folder = RunFolder.create(self.root, "cost", name, {"model": name})
            folder.finish(cost(parameters))
            places[name] = folder.path.name
        alike = ("agreement", "kl", "cka", "diagram_distance")
        networks = [row["run"] for row in rows] + [of["run"] for name, of in teachers.items() if name == "image"]
        return {
            "relative_corruption_error": {
                "baseline": baseline,
                "of": {network: float(random.uniform(0.8, 1.2)) for network in networks},
            },
            "likeness": {
                row["run"]: {teacher: {name: float(random.uniform()) for name in alike} for teacher in teachers}
                for row in rows
            },
            "costs": {"student": places["student"], "teachers": dict.fromkeys(teachers, places["teacher"])},
        }


def _methods(arm: str, teachers: int) -> list[dict[str, Any]]:
    if arm == "tgd":
        alphas = [0.7, 0.3] if teachers == 2 else [1.0]
        return [{"is": "KD", "weight": 0.9}, {"is": "TGD", "alphas": alphas, "merge": "published"}]
    return [] if arm == "alone" else [{"is": "KD", "weight": 0.9}]
