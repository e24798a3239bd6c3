"""Run folders of a comparison of made-up detectors, whose figures the package's metrics computed of drawn boxes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_up_metrics import cost

from persistill import metrics
from persistill.metrics.detection.errors import KINDS
from persistill.run_folder import RunFolder
from persistill.structures import Detections, Objects
from persistill.tasks.detection.examples import keep_examples
from persistill.tasks.detection.files import detection_arrays
from persistill.tasks.measure import Measure
from persistill.utils.atomic_io import atomic

CLASSES = ("red cell", "white cell", "platelet")
SIZE = (48, 64)
MEASURES = [Measure("ap", "AP"), Measure("ap50", "AP50")]
COLUMNS = [*MEASURES, Measure("ap75", "AP75"), Measure("d_ece", "D-ECE", larger_is_better=False)]
SECTIONS = (
    *("significance", "accuracy", "class_ap", "size_ap", "precision_recall", "detection_errors", "detection_examples"),
    *("published", "cost", "training", "detection_calibration", "noise", "corruptions", "reproducibility"),
)


def boxes(count: int, generator: torch.Generator) -> torch.Tensor:
    height, width = SIZE
    start = torch.rand(count, 2, generator=generator) * torch.tensor([width - 20.0, height - 20.0])
    return torch.cat([start, start + 8 + 12 * torch.rand(count, 2, generator=generator)], 1)


def objects(images: int, seed: int) -> list[Objects]:
    """A few red cells, sometimes a white one, and platelets, of which some are difficult; one image is empty."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number in range(images):
        count = 0 if number == 3 else 1 + number % 4
        labels = torch.tensor([0, 1, 0, 2][:count], dtype=torch.int64)
        difficult = torch.tensor([number % 5 == 0 and label == 2 for label in labels.tolist()], dtype=torch.bool)
        found.append(Objects(boxes(count, generator), labels, difficult, torch.zeros(count, dtype=torch.bool)))
    return found


def answers(truth: list[Objects], skill: float, seed: int) -> list[Detections]:
    """True boxes, moved the more the less skill there is, others beside them; platelets are never found."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for one in truth:
        kept = one.labels != 2
        moved = one.boxes[kept] + (1 - skill) * 6 * torch.randn(int(kept.sum()), 4, generator=generator)
        moved[:, 2:] = moved[:, 2:].maximum(moved[:, :2] + 1)
        others = boxes(2, generator)
        scores = torch.cat(
            [0.4 + 0.6 * torch.rand(len(moved), generator=generator), torch.rand(2, generator=generator)]
        )
        order = scores.argsort(descending=True)
        labels = torch.cat([one.labels[kept], torch.tensor([0, 1])])
        found.append(Detections(torch.cat([moved, others])[order], scores[order], labels[order]))
    return found


class DetectorMaker:
    """Writes run folders below ``root``."""

    def __init__(self, root: Path, images: int = 24) -> None:
        self.root, self.images = root, images

    def network(self, kind: str, name: str, seed: int, skill: float) -> dict[str, str]:
        """A training and its evaluation, by the names of their folders."""
        run = RunFolder.create(self.root, kind, f"{name}-seed{seed}", {"name": name, "seed": seed})
        for epoch in (1, 2, 3):
            terms = {"classes": 1.0 / epoch, "boxes": 2.0 / epoch, "centerness": 0.5}
            run.log(
                type="epoch",
                epoch=epoch,
                step=epoch,
                epochs=3,
                loss=sum(terms.values()),
                terms=terms,
                weights=dict.fromkeys(terms, 1.0),
                lr=0.1,
                train_accuracy=None,
                validation={"ap": skill * epoch / 3, "ap50": skill * epoch / 3},
                seconds=3.0 * epoch,
            )
        evaluation = RunFolder.create(self.root, "evaluation", f"{name}-seed{seed}", {"network": {"name": name}})
        validated = self._evaluate(evaluation, skill, 100 * seed + len(name))
        run.finish({"epochs": 3, "parameters": 175_066, "validation": {"ap": validated}, "seconds": 60.0})
        return {"run": run.path.name, "evaluation": evaluation.path.name}

    def _evaluate(self, folder: RunFolder, skill: float, seed: int) -> float:
        """Write an evaluation; gives the AP of the validation images."""
        files: dict[str, dict[str, np.ndarray]] = {"detections.npz": {}, "draws.npz": {}}
        for split, part in (("validation_", 1), ("", 0)):
            truth = objects(self.images, part)
            found = answers(truth, skill, seed)
            matches = metrics.match_detections(found, truth, len(CLASSES))
            arrays = detection_arrays(found, truth, np.arange(self.images), matches)
            files["detections.npz"] |= {f"{split}{name}": array for name, array in arrays.items()}
            draws = metrics.ap_draws(matches, draws=60)
            files["draws.npz"] |= {f"{split}{name}": array for name, array in draws.items()}
        for name, stored in files.items():
            with atomic(folder.file(name)) as path, path.open("wb") as file:
                np.savez(file, **stored)  # type: ignore[arg-type]
        by_class = metrics.class_ap(matches)
        counted = [int(sum(((one.labels == k) & ~one.difficult).sum() for one in truth)) for k in range(len(CLASSES))]
        figures = metrics.coco_figures(matches)
        measured: dict[str, Any] = {
            **{name: None if np.isnan(value) else value for name, value in figures.items()},
            "d_ece": metrics.d_ece(matches),
            "voc_ap50": float(metrics.voc_class_ap(found, truth, len(CLASSES), method="area").mean()),
            "voc_ap50_11_point": float(metrics.voc_class_ap(found, truth, len(CLASSES), method="11-point").mean()),
            "objects": sum(counted),
            "by_class": {"ap": by_class.mean(1).tolist(), "ap50": by_class[:, 0].tolist(), "objects": counted},
            "errors": dict(zip(KINDS, metrics.error_counts(found, truth).sum(0).tolist(), strict=True)),
            "noise": {"0.1": 0.8 * figures["ap"]},
            "corruptions": {
                "ap": {"fog": {str(severity): figures["ap"] / severity for severity in range(1, 6)}},
                "images": self.images,
                "clean": figures["ap"],
                "error": 1 - figures["ap"] / 2,
            },
        }
        folder.finish({"metrics": measured, "images": self.images, "seconds": 1.5})
        return float(files["draws.npz"]["validation_ap"][0])

    def comparison(self, seeds: tuple[int, ...] = (0, 1)) -> Path:
        """Two arms and a teacher; gives its folder."""
        rows = [
            {"arm": arm, "seed": seed, **self.network("student", arm, seed, skill)}
            for arm, skill in (("alone", 0.3), ("pkd", 0.75))
            for seed in seeds
        ]
        teacher = self.network("teacher", "teacher", 0, 0.9)
        candidates = [
            {
                **{name: row[name] for name in ("arm", "seed", "run")},
                "value": RunFolder.open(self.root / row["run"]).result()["validation"]["ap"],
            }
            for row in rows
        ]
        chosen = max(candidates, key=lambda one: one["value"])
        prices = {}
        for name, parameters in (("student", 175_066), ("teacher", 1_549_530)):
            folder = RunFolder.create(self.root, "cost", name, {"model": name})
            folder.finish(cost(parameters))
            prices[name] = folder.path.name
        recipe = {
            "is": "Recipe",
            "name": "cells",
            "task": "detection",
            "data": {"is": "Data", "source": "cells"},
            "student": {"is": "Model", "name": "fcos:resnet-8"},
            "arms": {
                "alone": {"is": "Arm", "methods": [], "teachers": [], "start": None},
                "pkd": {"is": "Arm", "methods": [{"is": "PKD", "weight": 6.0}], "teachers": ["teacher"], "start": None},
            },
            "teachers": {"teacher": {"is": "Teacher", "view": "image"}},
            "seeds": list(seeds),
            "teacher_seed": 0,
            "evaluate": {"is": "Evaluate", "noise": [0.1], "ece_bins": 15},
        }
        comparison = RunFolder.create(self.root, "comparison", "cells", {"recipe": recipe})
        comparison.finish(
            {
                "recipe": "cells",
                "command": "persistill run cells.py",
                "classes": list(CLASSES),
                "seconds": 812.0,
                "views": {},
                "teachers": {"teacher": teacher},
                "rows": rows,
                "choice": {**chosen, "figure": "ap", "images": self.images, "candidates": candidates},
                "costs": {"student": prices["student"], "teachers": {"teacher": prices["teacher"]}},
                "task": {
                    "name": "detection",
                    "pipeline_tag": "object-detection",
                    "measures": [measure.to_json() for measure in MEASURES],
                    "columns": [measure.to_json() for measure in COLUMNS],
                    "differences": [measure.to_json() for measure in MEASURES],
                    "sections": list(SECTIONS),
                },
            }
        )
        keep_examples(comparison.path, [self.root / row["evaluation"] for row in rows], _look)
        return comparison.path


def _look(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    noise = torch.randint(100, 200, (len(rows), 3, *SIZE), generator=torch.Generator().manual_seed(1))
    return {"image": noise.byte()}
