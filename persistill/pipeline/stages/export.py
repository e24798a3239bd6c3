"""The student that leaves, as files that need nothing of this package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from persistill import exporters, models
from persistill.data import ImageDataset, Splits
from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage
from persistill.pipeline.stages.choice import ChoiceStage
from persistill.pipeline.stages.evaluation import EvaluationStage
from persistill.pipeline.stages.quantized import QuantizedStage
from persistill.run_folder import Kind, RunFolder

CALIBRATING = 256
"""Training images on which int8 ranges are measured, at most."""
_PIXELS, _CALIBRATING_PIXELS, _LEAST = 2**19, 2**18, 64
"""Of all images that are compared, 512 of 32x32 and 128 of 64x64; of all that are calibrated on, 256 and 64; and no
fewer than 64 of any size. What more of large images would tell is little: every format answers each of them, and ranges
are measured on all activations of an image."""
_HELD, _FEWEST = 2**22, 8
"""Pixels of all images that are calibrated on, and how few they may be: the quantizer holds the activations of all of
them at a time, a kB a pixel of a small detector's."""


class ExportStage(Stage):
    """Writes the student that was chosen in several formats, with the temperature of its evaluation.

    Args:
        choice: of the student.
        evaluations: key of a student -> its evaluation, of all that may be chosen.
        quantized: the copy that was trained for the int8 file; None to round the student as it is.
        formats: names of the task's (``exporters.FORMATS``, in most); None for all.
    """

    kind: ClassVar[Kind] = "export"
    measures_time: ClassVar[bool] = True

    def __init__(
        self,
        choice: ChoiceStage,
        evaluations: Mapping[str, EvaluationStage],
        quantized: QuantizedStage | None,
        formats: Sequence[str] | None = None,
    ) -> None:
        self.choice, self.evaluations, self.quantized = choice, dict(evaluations), quantized
        self.formats, measured = formats, list(self.evaluations.values())
        inputs = {"choice": choice.key, "evaluations": [stage.key for stage in measured], "format": 5}
        if quantized is not None:
            inputs["quantized"] = quantized.key
        if formats is not None and tuple(formats) != tuple(exporters.FORMATS):
            inputs["formats"] = list(formats)
        before = (*choice.depends_on, choice, *measured, *([quantized] if quantized else []))
        super().__init__(choice.name, inputs, before)

    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Write all files, and compare each with the checkpoint."""
        student = self.choice.chosen(context)
        network, about = student.network(context)
        calibrated = self.evaluations[student.key].open(context).result()["metrics"].get("calibrated")
        if calibrated is not None:
            about["temperature"] = calibrated["temperature"]
        for_int8 = None if self.quantized is None else self.quantized.network(context)[0]
        context.progress.start(f"export of {student.name}", 1)
        splits, task = context.data.splits, context.task.export
        result = write_export(network, about, splits, folder.path, task, for_int8, self.formats)
        context.progress.finish()
        return {"student": {"arm": student.arm_name, "seed": student.seed, "run": student.folder_name}, **result}


def write_export(
    network: models.Network,
    about: Mapping[str, Any],
    splits: Splits,
    folder: Path,
    task: exporters.ExportTask,
    for_int8: models.Network | None = None,
    formats: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write a trained network in several formats, compared on test images, int8 calibrated on training images.

    Args:
        network: sees images.
        about: from its weights file.
        splits: the images that it was trained on.
        folder: exists, and receives the files.
        task: how files are compared.
        for_int8: a copy of it that was trained on for the int8 file.
        formats: names of the task's; None for all.

    Returns:
        What ``exporters.export_student`` returns.
    """
    compared = _spread(splits.test, count_compared(splits.test, task))
    calibrating = _spread(splits.train, count_calibrating(splits.train))
    return exporters.export_student(
        network,
        about,
        splits.test.fetch(compared).cpu(),
        folder,
        targets=splits.test.fetch_targets(compared).cpu(),
        calibration=splits.train.fetch(calibrating).cpu(),
        for_int8=for_int8,
        formats=formats,
        task=task,
    )


def count_compared(images: ImageDataset, task: exporters.ExportTask) -> int:
    """How many of some images every file answers: fewer of large ones, and no more than there are."""
    return _affordable(images, task.compared, _PIXELS)


def count_calibrating(images: ImageDataset) -> int:
    """On how many of some images ranges are measured, likewise; of large ones as many as memory holds."""
    _, height, width = images.shape
    return min(_affordable(images, CALIBRATING, _CALIBRATING_PIXELS), max(_FEWEST, _HELD // (height * width)))


def _affordable(images: ImageDataset, most: int, pixels: int) -> int:
    _, height, width = images.shape
    return min(most, max(_LEAST, pixels // (height * width)), len(images))


def _spread(images: ImageDataset, count: int) -> Tensor:
    """Evenly spaced positions."""
    return torch.arange(count) * len(images) // count
