"""Detection: boxes around objects, each with a class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from persistill import data, metrics
from persistill.config import Data, Evaluate, Recipe, Train
from persistill.data import BOX_AUGMENTATIONS, BoxAugmentation, ImageDataset, Splits
from persistill.errors import UserError
from persistill.evaluation import EvaluationLoaders, EvaluationStep, corruption_steps, noise_step
from persistill.exporters import ExportTask
from persistill.models import DetectionOutput, Detector, inherit_head, samples_by_image, skip_detections
from persistill.structures import Batch, ModelOutput, OutputField, unpack_objects
from persistill.tasks.base import Task
from persistill.tasks.detection.clean import clean_step
from persistill.tasks.detection.examples import keep_examples
from persistill.tasks.detection.export import DETECT
from persistill.tasks.detection.fitting_methods import method_problems
from persistill.tasks.detection.loss_terms import TERMS, loss_terms
from persistill.tasks.detection.observe import joined, observe
from persistill.tasks.detection.scoring import APScoring
from persistill.tasks.look import Look
from persistill.tasks.measure import Measure
from persistill.tasks.networks import Networks, relative_corruption_error
from persistill.utils.progress import Progress
from persistill.utils.registry import Registry
from persistill.utils.units import counted, first_few

AP = Measure("ap", "AP")
AP50 = Measure("ap50", "AP50")
AP75 = Measure("ap75", "AP75")
D_ECE = Measure("d_ece", "D-ECE", larger_is_better=False)

_PIXELS = 2**22
"""In the images that are asked about at a time: 54 of 240 x 320. A pyramid of 256 channels takes about a kB of each."""


class Detection(Task):
    """Boxes around objects: ``DetectionOutput``, targets (B, M, 7) of ``structures.pack_objects``."""

    name = "detection"
    pipeline_tag = "object-detection"
    terms = TERMS
    measures = (AP, AP50)
    columns = (AP, AP50, AP75, D_ECE)
    differences = (AP, AP50)
    suggestions = ("kd", "pkd", "fgd")
    sections = (
        "significance",
        "accuracy",
        "class_ap",
        "size_ap",
        "precision_recall",
        "detection_errors",
        "detection_examples",
        "published",
        "cost",
        "training",
        "detection_calibration",
        "noise",
        "corruptions",
        "reproducibility",
    )
    augmentations: ClassVar[Registry[Callable[..., Any]]] = BOX_AUGMENTATIONS
    required_outputs: ClassVar[frozenset[OutputField]] = frozenset()

    def load(self, settings: Data, progress: Progress) -> Splits:
        """Images with boxes; splits are drawn so that the objects of every class are shared out evenly."""
        if settings.label is not None:
            raise UserError(
                f"data.label={settings.label!r} names a column of classes or masks, and the task 'detection' reads "
                "boxes, from the column objects. Leave data.label out."
            )
        found = data.load_boxes(settings, progress)
        notes = tuple(
            f"No object of {counted(len(names), 'class', 'classes')} is among the {split} images "
            f"({first_few(names, 5)}): no AP is measured of them there."
            for split, names in found.missing.items()
            if names and split != "train"
        )
        return replace(found.splits, notes=(*found.splits.notes, *notes))

    def sample(self, images: ImageDataset, count: int) -> Tensor:
        """Drawn from a fixed seed."""
        return torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count].sort().values

    def image_classes(self, images: ImageDataset) -> Tensor:
        """All of one class."""
        return torch.zeros(len(images), dtype=torch.int64)

    def augmentation(self, names: Sequence[Any]) -> Sequence[Any]:
        """Names in a row become one augmentation of images and boxes."""
        found: list[Any] = []
        for own, some in groupby(names, lambda name: name in BOX_AUGMENTATIONS):
            row = tuple(some)
            found += [BoxAugmentation(*row)] if own else row
        return found

    def teaching(self, network: nn.Module) -> nn.Module:
        """Levels and heads are read, and detections are not."""
        skip_detections(network)
        return network

    def inherit_head(self, student: nn.Module, teacher: nn.Module) -> None:
        """The pyramid as well; what differs in shape stays as it is."""
        if not isinstance(student, Detector) or not isinstance(teacher, Detector):
            raise UserError("inherit_head needs two detectors with normalization and size of images in common.")
        inherit_head(student, teacher)

    def forward(self, network: nn.Module, inputs: Tensor, batch: Batch) -> ModelOutput:
        """Detectors compute their losses themselves, and are given the objects: by a function, so that a wrapper for
        half precision cannot round the boxes.
        """
        with samples_by_image(batch.step, batch.index):
            output: ModelOutput = network(inputs, lambda: unpack_objects(batch.target))
        return output

    def indivisible(self, network: nn.Module) -> str | None:
        """Detectors whose losses may be means over anything."""
        detector = next((module for module in network.modules() if isinstance(module, Detector)), None)
        if detector is not None and detector.has_known_losses:
            return None
        return (
            f"{type(network if detector is None else detector.module).__name__} computes its losses itself, and over "
            "which objects of a batch each of them is a mean is known of torchvision's FCOS, RetinaNet, SSD and Faster "
            "R-CNN alone"
        )

    def criterion(self, output: ModelOutput, batch: Batch, *, label_smoothing: float = 0.0) -> dict[str, Tensor]:  # noqa: ARG002 - refused in ``problems``
        """The detector's own losses, added up by ``terms``; 0 where it has none of a kind."""
        assert isinstance(output, DetectionOutput)
        return loss_terms(output)

    def accuracy(self, output: ModelOutput, batch: Batch) -> Tensor:  # noqa: ARG002
        """NaN: in training nothing is detected."""
        return torch.full((), torch.nan, device=output.embedding.device)

    def observe(self, output: ModelOutput, batch: Batch) -> Mapping[str, Any]:
        """Detections and objects of each image."""
        return observe(output, batch)

    def validate(self, observed: Mapping[str, Any]) -> dict[str, float]:
        """AP and AP50 of all images together."""
        figures = metrics.coco_figures(joined(observed).matches)
        return {measure.name: figures[measure.name] for measure in self.measures}

    def evaluation_steps(
        self, network: nn.Module, material: EvaluationLoaders, view: str, settings: Evaluate, folder: Path
    ) -> list[EvaluationStep]:
        """Images as they are, noisy and corrupted. Attacks are not measured."""
        steps = [clean_step(network, material, view, settings)]
        if not data.is_stored(view):
            scoring = APScoring(network, folder, AP.name)
            steps += [noise_step(scoring, material, settings, sigma) for sigma in settings.noise]
            steps += corruption_steps(scoring, material, settings, folder)
        return steps

    def compare(self, networks: Networks, folder: Path, look: Look, progress: Progress) -> dict[str, Any]:
        """Images worth a look, and relative corruption errors."""
        progress.start("images worth a look", 1)
        keep_examples(folder, [networks.measured(student) for student in networks.students.values()], look)
        progress.advance(1)
        progress.finish()
        return {"relative_corruption_error": relative_corruption_error(networks, AP.name)}

    @property
    def export(self) -> ExportTask:
        """Files are compared by their boxes, and scored by AP."""
        return DETECT

    def applicable(self, evaluate: Evaluate) -> Evaluate:
        """All but attacks."""
        return evaluate.model_copy(update={"attacks": ()})

    def problems(self, recipe: Recipe) -> list[str]:
        """Settings of images with one class, and methods that do not fit detectors."""
        found = method_problems(recipe)
        if recipe.evaluate.ood is not None:
            found.append(
                "evaluate.ood: the task 'detection' measures no detection of images of other things; leave it out."
            )
        if recipe.quantize is not None:
            found.append("quantize: detectors are not trained on for 8 bits; leave it out.")
        trainings: list[Train | None] = [recipe.train, *(teacher.train for teacher in recipe.teachers.values())]
        trainings += [arm.train for arm in recipe.arms.values()]
        if any(train is not None and train.label_smoothing for train in trainings):
            found.append(
                "train.label_smoothing: detectors compute their losses themselves, of labels as they are; leave it out."
            )
        if any(train is not None and train.compile != "off" for train in trainings):
            found.append(
                "train.compile: detectors compute with objects whose number differs from image to image, and are not "
                "compiled; leave it out."
            )
        if any(train is not None and train.crop_size is not None for train in trainings):
            found.append(
                "train.crop_size: the crops of images with boxes are brought to the size of the images; leave it out."
            )
        return found

    def fitting(self, evaluate: Evaluate, shape: tuple[int, int, int]) -> Evaluate:
        """Batches of at most ``_PIXELS``; what a detector finds in an image does not depend on the others."""
        most = max(1, _PIXELS // (shape[1] * shape[2]))
        return evaluate.model_copy(update={"batch_size": min(evaluate.batch_size, most)})

    def check(self, output: ModelOutput, batch: Batch) -> None:  # noqa: ARG002
        """See whether a network is a detector.

        Raises:
            UserError: if it is none.
        """
        if not isinstance(output, DetectionOutput):
            raise UserError(
                "the task 'detection' needs a detector: fcos:NAME, retinanet:NAME or faster-rcnn:NAME on any encoder "
                "(fcos:resnet-8), a detector of torchvision (torchvision/fcos_resnet50_fpn), or your own with "
                f"torchvision's calling convention; the network gives logits {tuple(output.logits.shape)} and no boxes."
            )
