"""The work of the stages: networks and teachers made for the images of a recipe, trained, measured and exported."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from persistill import evaluation, metrics, models
from persistill.config import Arm, Model, Quantize, Recipe, Teacher, Train, as_methods
from persistill.data import open_features, write_features
from persistill.errors import UserError
from persistill.pipeline.data_module import DataModule
from persistill.pipeline.export_job import hand_over
from persistill.pipeline.stage import Stage
from persistill.run_folder import RunFolder
from persistill.structures import MethodContext, ModelOutput, OutputField, Preparation
from persistill.training import (
    Criterion,
    Frozen,
    OnlineTeacher,
    StoredTeacher,
    TeacherCallable,
    fake_quantized,
    fit,
    make_fabric,
)
from persistill.utils import atomic_io
from persistill.utils.progress import Progress

WEIGHTS = "model.safetensors"
FEATURES_BATCH = 256
"""Images that a teacher is asked about at a time when its features are stored."""
Result = dict[str, Any]


@dataclass(frozen=True)
class TeacherRef:
    """A teacher of an arm, and the stages that it comes from.

    Attributes:
        settings: its network, and the view that it sees.
        trained: the stage that leaves its weights.
        features: the stage that stores what it says of the training images; None if it is asked at every step.
    """

    settings: Teacher
    trained: Stage
    features: Stage | None = None


class StageJobs:
    """Where the stages of one recipe are worked at. Each method that takes a ``folder`` does the work of one stage:
    it fills the folder and returns the result.

    Args:
        recipe: what to do.
        supply: its images, on the device where networks are trained.
        out: where the run folders lie.
        progress: told of everything that takes time.
    """

    def __init__(self, recipe: Recipe, supply: DataModule, out: Path, progress: Progress) -> None:
        self._recipe, self._supply, self._out, self._progress = recipe, supply, out, progress

    # --- teachers -------------------------------------------------------------------------------------------------

    def train_teacher(self, name: str, teacher: Teacher, folder: RunFolder) -> Result:
        """Train a teacher on its view."""
        settings, seed = teacher.train or self._recipe.train, self._recipe.teacher_seed
        torch.manual_seed(seed)
        network = self._starting(teacher.model, teacher.view)
        objective = Criterion(label_smoothing=settings.label_smoothing)
        return self._fit(network, objective, settings, folder, seed, f"teacher {name}", teacher.view)

    def adopt_teacher(self, teacher: Teacher, weights: Path, folder: RunFolder) -> Result:
        """Take a teacher's weights from a file."""
        network = self._build(teacher.model.name, teacher.view)
        models.load_into(network, weights)
        self._save(network, folder, teacher.view)
        return {"epochs": 0, "parameters": _size(network), "weights": str(weights)}

    def store_features(self, tutor: TeacherRef, parts: frozenset[OutputField], folder: RunFolder) -> Result:
        """Ask a teacher once about every training image."""
        precision = self._recipe.teacher_cache
        assert precision != "off"
        teacher = self._live(tutor, self._recipe.train)
        batches = self._supply.loader("train", {teacher.view}, batch_size=FEATURES_BATCH, shuffle_seed=None)
        return write_features(
            folder.path, batches, len(self._supply.splits.train), teacher, parts, precision, self._progress
        )

    def prepare(
        self, preparation: Preparation, tutors: Sequence[TeacherRef], settings: Train, folder: RunFolder
    ) -> Result:
        """Do what a method needs done before any student."""
        seed = self._recipe.teacher_seed
        torch.manual_seed(seed)
        teachers = [self._teaching(tutor, settings) for tutor in tutors]
        loader = self._supply.training_loader(settings, seed, _views(teachers))

        def teacher_batches(epoch: int) -> Iterator[Sequence[ModelOutput]]:
            for batch in loader.epoch(epoch):
                yield [teacher(batch) for teacher in teachers]

        return preparation.prepare(teacher_batches, folder.path, self._progress)

    def _teaching(self, tutor: TeacherRef, settings: Train) -> TeacherCallable:
        if tutor.features is None:
            return self._live(tutor, settings)
        folder = self._open(tutor.features)
        return StoredTeacher(open_features(folder.path, folder.result(), self._supply.device).fetch)

    def _live(self, tutor: TeacherRef, settings: Train) -> OnlineTeacher:
        network, _ = self._trained(tutor.trained, tutor.settings.view)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network.to(device=self._supply.device, memory_format=layout)  # type: ignore[call-overload]
        return OnlineTeacher(Frozen(network), tutor.settings.view)

    # --- students -------------------------------------------------------------------------------------------------

    def probe(self) -> None:
        """Send two random images through every arm, untrained: what does not fit shows now, not after the teachers.

        Initial weights are tried as well, because they may have to be downloaded.

        Raises:
            UserError: if networks, views and methods do not fit together.
        """
        for who, model, view in _started(self._recipe):
            self._progress.start(f"initial weights of the {who}", 1)
            notes = models.start_from(self._build(model.name, view), str(model.initial))
            self._progress.finish("; ".join(notes))
        student = self._build(self._recipe.student.name, "image").to(self._supply.device)
        example = self._supply.example()
        for name, arm in self._recipe.arms.items():
            teachers: list[TeacherCallable] = []
            for teacher_name in arm.teachers:
                teacher = self._recipe.teachers[teacher_name]
                network = self._build(teacher.model.name, teacher.view).to(self._supply.device)
                teachers.append(OnlineTeacher(Frozen(network), teacher.view))
            try:
                objective = self._objective(arm, student, teachers, [None] * len(arm.methods))
                with torch.no_grad():
                    taught = [teacher(example) for teacher in teachers]
                    objective.to(self._supply.device).terms(student(example.inputs["image"]), taught, example)
            except UserError as error:
                raise UserError(f"arm {name!r}: {error}") from None

    def train_student(
        self,
        arm: Arm,
        seed: int,
        folder: RunFolder,
        *,
        label: str,
        start: Stage | None,
        tutors: Sequence[TeacherRef],
        preparations: Sequence[Stage | None],
        quantize: Quantize | None = None,
    ) -> Result:
        """Train a student.

        Args:
            arm: how.
            seed: of its first weights and of the order of the images.
            folder: the stage's.
            label: of the training, for whoever watches.
            start: the student whose weights it starts from; None for those from which its model starts.
            tutors: the arm's teachers.
            preparations: one for each of the arm's methods, None where a method has none.
            quantize: to train on one that is rounded to 8 bits.
        """
        settings = arm.train or self._recipe.train
        if quantize is not None:
            settings = quantize.training(settings)
        torch.manual_seed(seed)
        if start is None:
            network = self._starting(self._recipe.student, "image")
        else:
            network = self._build(self._recipe.student.name, "image")
            models.load_into(network, self._open(start).file(WEIGHTS))
        teachers = [self._teaching(tutor, settings) for tutor in tutors]
        objective = self._objective(arm, network, teachers, preparations)
        rounded = quantize is not None
        return self._fit(network, objective, settings, folder, seed, label, "image", teachers, rounded=rounded)

    def _objective(
        self,
        arm: Arm,
        student: models.Network,
        teachers: Sequence[TeacherCallable],
        preparations: Sequence[Stage | None],
    ) -> Criterion:
        """The loss of an arm, with the trainable parts of its methods, built for what networks say of an example."""
        example = self._supply.example()
        student.to(self._supply.device).eval()
        with torch.no_grad():
            features = student(example.inputs["image"]), [teacher(example) for teacher in teachers]
        return Criterion(
            as_methods(arm.methods),
            cross_entropy=arm.cross_entropy,
            label_smoothing=(arm.train or self._recipe.train).label_smoothing,
            settings=[
                MethodContext(*features, self._supply.splits.train.targets, self._open(stage).path if stage else None)
                for stage in preparations
            ],
        )

    # --- what is done with a network, whichever it is -------------------------------------------------------------

    def evaluate(self, stage: Stage, view: str, folder: RunFolder) -> Result:
        """Measure a trained network on the test images."""
        network, _ = self._trained(stage, view)
        return evaluation.evaluate(
            network.to(self._supply.device),
            self._supply.material(view),
            view,
            self._recipe.evaluate,
            folder.path,
            self._progress,
            label=f"evaluation of {stage.kind} {stage.name}",
        )

    def export(self, student: Stage, measured: Stage, quantized: Stage | None, folder: RunFolder) -> Result:
        """Write a student in all formats, compared on test images, int8 calibrated on training images.

        The temperature of its evaluation goes along. The int8 file is made of the copy that was trained for it, if one
        was.
        """
        network, about = self._trained(student, "image")
        about["temperature"] = self._open(measured).result()["metrics"]["calibrated"]["temperature"]
        for_int8 = None if quantized is None else self._trained(quantized, "image")[0]
        self._progress.start(f"export of {student.name}", 1)
        result = hand_over(network, about, self._supply.splits, folder.path, for_int8)
        self._progress.finish()
        return result

    def measure_cost(self, model: str, view: str, _: RunFolder) -> Result:
        """Measure what a network of this kind costs to run, whatever its weights are."""
        return evaluation.measure_cost(
            self._build(model, view), self._supply.view_shape(view), self._supply.device, self._progress
        )

    def _build(self, model: str, view: str) -> models.Network:
        channels, height, width = self._supply.view_shape(view)
        return models.build(model, channels, len(self._supply.splits.classes), (height, width))

    def _starting(self, model: Model, view: str) -> models.Network:
        """A network as its training starts."""
        network = self._build(model.name, view)
        if model.initial is not None:
            models.start_from(network, model.initial)
        return network

    def _fit(
        self,
        network: models.Network,
        objective: Criterion,
        settings: Train,
        folder: RunFolder,
        seed: int,
        label: str,
        view: str,
        teachers: Sequence[TeacherCallable] = (),
        *,
        rounded: bool = False,
    ) -> Result:
        loader = self._supply.training_loader(settings, seed, {view, *_views(teachers)})
        held_out = self._supply.loader(
            "validation", {view}, batch_size=self._recipe.evaluate.batch_size, shuffle_seed=None
        )

        def validate(trained: nn.Module) -> Mapping[str, float]:
            predictions = evaluation.predict(trained, held_out, view)
            return {
                "accuracy": metrics.accuracy(predictions.logits, predictions.target),
                "nll": metrics.nll(predictions.logits, predictions.target),
            }

        with fake_quantized(network) if rounded else nullcontext():
            record = fit(
                network,
                loader,
                objective=objective,
                settings=settings,
                folder=folder,
                fabric=make_fabric(self._supply.device.type, settings),
                view=view,
                teachers=teachers,
                validate=validate,
                progress=self._progress,
                label=label,
            )
        self._save(network, folder, view)
        return {
            "epochs": settings.epochs,
            "parameters": _size(network),
            "train_accuracy": record["train_accuracy"],
            "validation": record["validation"],
            "seconds": record["seconds"],
        }

    def _save(self, network: models.Network, folder: RunFolder, view: str) -> None:
        mean, std = self._supply.normalization
        about = {"classes": list(self._supply.splits.classes), "mean": list(mean), "std": list(std), "view": view}
        about["shape"] = list(self._supply.view_shape(view))
        with atomic_io.atomic(folder.file(WEIGHTS)) as temporary:
            models.save(network, temporary, about)

    def _trained(self, stage: Stage, view: str) -> tuple[models.Network, dict[str, Any]]:
        network = self._build(stage.inputs["model"], view)
        about = models.load_into(network, self._open(stage).file(WEIGHTS))
        return network.eval(), about

    def _open(self, stage: Stage) -> RunFolder:
        return RunFolder.open(self._out / stage.folder_name)


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _started(recipe: Recipe) -> list[tuple[str, Model, str]]:
    """Networks that start from weights of others: what to call them, the model, and the view that it sees."""
    networks = [(f"teacher {name}", teacher.model, teacher.view) for name, teacher in recipe.teachers.items()]
    return [one for one in [*networks, ("student", recipe.student, "image")] if one[1].initial is not None]


def _views(teachers: Sequence[TeacherCallable]) -> set[str]:
    """What has to be loaded for teachers that are asked at every step."""
    return {teacher.view for teacher in teachers if isinstance(teacher, OnlineTeacher)}
