"""From a recipe to its stages: the one place that knows all rooms.

    recipe -> views -> teachers (-> features, preparations) -> students (arms x seeds) -> evaluation -> export -> report

Each stage is a ``Stage``: what it depends on, and the work that fills its run folder. Running a recipe walks through
the list; a stage whose folder is complete is passed over, so an interrupted recipe goes on where it stopped.
"""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from persistill import evaluation, export, models, report, runs
from persistill.data import (
    Loader,
    Splits,
    load,
    make_view,
    measure_normalisation,
    open_features,
    open_view,
    write_features,
)
from persistill.errors import UserError
from persistill.progress import Progress, Silent
from persistill.recipe import Arm, Recipe, Teacher, Train, as_methods
from persistill.runs import RunFolder
from persistill.stages import Stage, problems
from persistill.training import CHECKPOINT, Frozen, LiveTeacher, Objective, StoredTeacher, Teaching, fit, make_fabric
from persistill.types import Batch, Features, Part, Preparation, PreparedMethod, Setting

WEIGHTS = "model.safetensors"
FEATURES_BATCH = 256
"""Pictures that a teacher is asked about at a time when its features are stored."""


class Pipeline:
    """A recipe on its way through the stages.

    Args:
        recipe: what to do.
        out: where the run folders lie.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told of everything that takes time.
        command: the command line that repeats this, for the report.

    Raises:
        UserError: if the recipe asks for what does not exist or does not fit together. Found before any training.
    """

    def __init__(
        self, recipe: Recipe, out: Path, *, device: str = "auto", progress: Progress | None = None, command: str = ""
    ) -> None:
        self.recipe, self.out, self.command = recipe, out, command
        self._progress = progress or Silent()
        found = problems(recipe)
        if found:
            raise UserError("\n".join(found))
        self._fabric = make_fabric(device, recipe.train)
        self._device = self._fabric.device

    @cached_property
    def splits(self) -> Splits:
        """The pictures, on the device where they are small."""
        return load(self.recipe.data, self._progress).to(self._device)

    @cached_property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Channel means and standard deviations of the pictures: stated by the recipe or measured on training data."""
        data = self.recipe.data
        if data.mean is not None or data.std is not None:
            channels = self.splits.train.shape[0]
            if data.mean is None or data.std is None or not len(data.mean) == len(data.std) == channels:
                raise UserError(
                    f"data.mean and data.std go together, with one value for each of the {channels} channel(s); "
                    f"{data.mean} and {data.std} were given."
                )
            return data.mean, data.std
        return measure_normalisation(self.splits.train)

    # --- the stages, each with what it depends on -----------------------------------------------------------------

    def stages(self) -> list[Stage]:
        """All stages in the order in which they run."""
        students = list(self.students.values())
        evaluated = [*self.teachers.values(), *students]
        return [
            *self.views.values(),
            *self.teachers.values(),
            *self.features.values(),
            *self.preparations.values(),
            *students,
            *(self.evaluations[stage.key] for stage in evaluated),
            self.exported,
            self.comparison,
        ]

    @cached_property
    def views(self) -> dict[str, Stage]:
        """View name -> stage."""
        return {
            name: Stage(
                "view",
                name,
                {"data": self.splits.fingerprint, "view": view.to_json()},
                lambda folder, view=view: make_view(view, self.splits, folder.path, self._progress),  # type: ignore[misc]
            )
            for name, view in self.recipe.views.items()
        }

    @cached_property
    def teachers(self) -> dict[str, Stage]:
        """Teacher name -> stage."""
        return {name: self._teacher(name, teacher) for name, teacher in self.recipe.teachers.items()}

    @cached_property
    def features(self) -> dict[str, Stage]:
        """Teacher name -> stage that stores what it says of the training pictures, where the recipe asks for that."""
        if self.recipe.teacher_cache == "off":
            return {}
        arms = self.recipe.arms.values()
        parts = {
            name: frozenset[Part]().union(
                *(method.reads for arm in arms if name in arm.teachers for method in as_methods(arm.methods))
            )
            for name in self.recipe.teachers
        }
        return {name: self._features(name, needed) for name, needed in parts.items() if needed}

    @cached_property
    def preparations(self) -> dict[tuple[str, int], Stage]:
        """Arm name and position of a method in it -> stage, for methods that need one before any student."""
        return {
            (name, position): self._preparation(arm, method.preparation)
            for name, arm in self.recipe.arms.items()
            for position, method in enumerate(as_methods(arm.methods))
            if isinstance(method, PreparedMethod) and method.preparation is not None
        }

    @cached_property
    def students(self) -> dict[tuple[str, int], Stage]:
        """Arm name and seed -> stage."""
        found: dict[tuple[str, int], Stage] = {}
        for name, arm in self.recipe.arms.items():
            for seed in self.recipe.seeds:
                found[name, seed] = self._student(name, arm, seed, found.get((arm.start or "", seed)))
        return found

    @cached_property
    def evaluations(self) -> dict[str, Stage]:
        """Key of a teacher or student -> stage."""
        seen = {name: teacher.view for name, teacher in self.recipe.teachers.items()}
        networks = [(stage, seen[name]) for name, stage in self.teachers.items()]
        networks += [(stage, "image") for stage in self.students.values()]
        return {stage.key: self._evaluation(stage, view) for stage, view in networks}

    @cached_property
    def exported(self) -> Stage:
        """The student that leaves the house."""
        student = self.students[self.recipe.export or list(self.recipe.arms)[-1], self.recipe.seeds[0]]
        return Stage(
            "export", student.name, {"network": student.key, "format": 1}, lambda folder: self._export(student, folder)
        )

    @cached_property
    def comparison(self) -> Stage:
        """All arms beside each other."""
        recipe = self.recipe.to_json()
        inputs = {"recipe": recipe, "data": self.splits.fingerprint, "stages": [s.key for s in self.students.values()]}
        return Stage("comparison", self.recipe.name, inputs, lambda _: self._compare())

    def _teacher(self, name: str, teacher: Teacher) -> Stage:
        settings = teacher.train or self.recipe.train
        inputs: dict[str, Any] = {**self._network_inputs(teacher.model.name), "view": self._view_key(teacher.view)}
        if teacher.weights is not None:
            inputs["weights"] = _file_hash(Path(teacher.weights))
        else:
            inputs |= {"train": settings.to_json(), "seed": self.recipe.teacher_seed}

        def work(folder: RunFolder) -> dict[str, Any]:
            if teacher.weights is not None:
                return self._adopt(teacher, Path(teacher.weights), folder)
            torch.manual_seed(self.recipe.teacher_seed)
            network = self._build(teacher.model.name, teacher.view)
            objective = Objective(label_smoothing=settings.label_smoothing)
            return self._fit(
                network, objective, settings, folder, self.recipe.teacher_seed, f"teacher {name}", teacher.view
            )

        return Stage("teacher", name, inputs, work)

    def _features(self, name: str, parts: frozenset[Part]) -> Stage:
        precision = self.recipe.teacher_cache
        assert precision != "off"
        inputs = {"teacher": self.teachers[name].key, "parts": sorted(parts), "precision": precision}

        def work(folder: RunFolder) -> dict[str, Any]:
            teacher = self._live_teacher(name, self.recipe.train)
            batches = self._loader("train", {teacher.view}, batch_size=FEATURES_BATCH, shuffle_seed=None)
            return write_features(
                folder.path, batches, len(self.splits.train), teacher, parts, precision, self._progress
            )

        return Stage("features", name, inputs, work)

    def _preparation(self, arm: Arm, preparation: Preparation) -> Stage:
        settings = arm.train or self.recipe.train
        inputs = {
            "preparation": preparation.to_json(),
            "teachers": self._teacher_inputs(arm),
            "batches": {
                "size": settings.batch_size,
                "augment": list(settings.augment),
                "padding": settings.crop_padding,
            },
            "seed": self.recipe.teacher_seed,
        }

        def work(folder: RunFolder) -> dict[str, Any]:
            torch.manual_seed(self.recipe.teacher_seed)
            teachers = [self._teaching(teacher, settings) for teacher in arm.teachers]
            loader = self._training_loader(settings, self.recipe.teacher_seed, _views(teachers))

            def lessons(epoch: int) -> Iterator[Sequence[Features]]:
                for batch in loader.epoch(epoch):
                    yield [teacher(batch) for teacher in teachers]

            return preparation.prepare(lessons, folder.path, self._progress)

        return Stage("preparation", "-".join([type(preparation).__name__, *arm.teachers]), inputs, work)

    def _student(self, name: str, arm: Arm, seed: int, start: Stage | None) -> Stage:
        settings = arm.train or self.recipe.train
        inputs: dict[str, Any] = {
            **self._network_inputs(self.recipe.student.name),
            "cross_entropy": arm.cross_entropy,
            "methods": [method.to_json() for method in arm.methods],
            "start": start.key if start else None,
            "train": settings.to_json(),
            "seed": seed,
            **self._teacher_inputs(arm),
        }
        preparations = [self.preparations.get((name, position)) for position in range(len(arm.methods))]
        if any(preparations):
            inputs["preparations"] = [stage.key if stage else None for stage in preparations]

        def work(folder: RunFolder) -> dict[str, Any]:
            torch.manual_seed(seed)
            network = self._build(self.recipe.student.name, "image")
            if start is not None:
                models.load_into(network, self.out / start.folder_name / WEIGHTS)
            teachers = [self._teaching(teacher, settings) for teacher in arm.teachers]
            objective = self._objective(name, arm, network, teachers, prepared=True)
            return self._fit(
                network, objective, settings, folder, seed, f"student {name}, seed {seed}", "image", teachers
            )

        return Stage("student", f"{name}-seed{seed}", inputs, work)

    def _evaluation(self, stage: Stage, view: str) -> Stage:
        inputs = {"network": stage.key, "settings": self.recipe.evaluate.to_json(), "data": self.splits.fingerprint}
        return Stage("evaluation", stage.name, inputs, lambda folder: self._evaluate(stage, view, folder))

    def _teacher_inputs(self, arm: Arm) -> dict[str, Any]:
        inputs: dict[str, Any] = {"teachers": [self.teachers[teacher].key for teacher in arm.teachers]}
        if arm.teachers and self.recipe.teacher_cache != "off":
            # Which parts are stored depends on the other arms, and changes nothing for this one.
            inputs["teacher_cache"] = self.recipe.teacher_cache
        return inputs

    def _network_inputs(self, model: str) -> dict[str, Any]:
        mean, std = self.normalisation
        return {"data": self.splits.fingerprint, "mean": list(mean), "std": list(std), "model": model}

    def _view_key(self, view: str) -> str:
        return view if view == "image" else self.views[view].key

    # --- the work of each stage -----------------------------------------------------------------------------------

    def run(self) -> RunFolder:
        """Run what is not complete, and write the report.

        Returns:
            The comparison's folder.

        Raises:
            UserError: if a folder was written by another recipe, or a stage finds a mistake that its user can mend.
        """
        self.probe()
        for stage in self.stages():
            context = {"recipe": self.recipe.to_json(), "stage": stage.kind}
            folder = RunFolder.create(self.out, stage.kind, stage.name, stage.inputs, context)
            if not folder.complete:
                began = time.perf_counter()
                result = stage.work(folder)
                folder.finish({"seconds": round(time.perf_counter() - began, 3), **result})
                folder.file(CHECKPOINT).unlink(missing_ok=True)
        self._progress.start("report", 1)
        report.write(folder.path)
        self._progress.finish()
        return folder

    def probe(self) -> None:
        """Send two random pictures through every arm, untrained: what does not fit shows now, not after the teachers.

        Raises:
            UserError: if networks, views and methods do not fit together.
        """
        student = self._build(self.recipe.student.name, "image").to(self._device)
        for name, arm in self.recipe.arms.items():
            teachers: list[Teaching] = []
            for teacher_name in arm.teachers:
                teacher = self.recipe.teachers[teacher_name]
                network = self._build(teacher.model.name, teacher.view).to(self._device)
                teachers.append(LiveTeacher(Frozen(network), teacher.view))
            example = self._example()
            try:
                objective = self._objective(name, arm, student, teachers, prepared=False)
                with torch.no_grad():
                    taught = [teacher(example) for teacher in teachers]
                    objective.to(self._device).terms(student(example.views["image"]), taught, example)
            except UserError as error:
                raise UserError(f"arm {name!r}: {error}") from None

    def _example(self) -> Batch:
        """Two random pictures in all views."""
        generator = torch.Generator().manual_seed(0)
        views = {"image", *(teacher.view for teacher in self.recipe.teachers.values())}
        return Batch(
            {
                view: torch.rand(2, *self._view_shape(view), generator=generator).to(self._device)
                for view in sorted(views)
            },
            self.splits.train.targets[:2].to(self._device),
            torch.arange(2, device=self._device),
        )

    def _objective(
        self, name: str, arm: Arm, student: models.Network, teachers: Sequence[Teaching], *, prepared: bool
    ) -> Objective:
        """The loss of an arm, with the trainable parts of its methods, built for what networks say of an example."""
        example, methods = self._example(), as_methods(arm.methods)
        student.to(self._device).eval()
        with torch.no_grad():
            features = student(example.views["image"]), [teacher(example) for teacher in teachers]
        stages = [self.preparations.get((name, position)) if prepared else None for position in range(len(methods))]
        return Objective(
            methods,
            cross_entropy=arm.cross_entropy,
            label_smoothing=(arm.train or self.recipe.train).label_smoothing,
            settings=[
                Setting(*features, self.splits.train.targets, self.out / stage.folder_name if stage else None)
                for stage in stages
            ],
        )

    def _view_shape(self, view: str) -> tuple[int, int, int]:
        picture = self.splits.train.shape
        shape: tuple[int, int, int] = picture if view == "image" else self.recipe.views[view].shape(picture)  # type: ignore[attr-defined]
        return shape

    def _build(self, model: str, view: str) -> models.Network:
        channels, height, width = self._view_shape(view)
        return models.build(model, channels, len(self.splits.classes), (height, width))

    def _open_view(self, name: str) -> Any:
        folder = RunFolder.open(self.out / self.views[name].folder_name)
        return open_view(folder.path, folder.result(), self.splits)

    def _loader(self, split: str, views: set[str], **options: Any) -> Loader:
        mean, std = self.normalisation
        opened = {name: self._open_view(name).split(split) for name in sorted(views - {"image"})}
        return Loader(getattr(self.splits, split), opened, mean=mean, std=std, device=self._device, **options)

    def _training_loader(self, settings: Train, seed: int, views: set[str]) -> Loader:
        return self._loader(
            "train",
            views,
            batch_size=settings.batch_size,
            shuffle_seed=seed,
            augment=settings.augment,
            crop_padding=settings.crop_padding,
            drop_last=True,
        )

    def _fit(
        self,
        network: models.Network,
        objective: Objective,
        settings: Train,
        folder: RunFolder,
        seed: int,
        label: str,
        view: str,
        teachers: list[Teaching] | None = None,
    ) -> dict[str, Any]:
        teachers = teachers or []
        loader = self._training_loader(settings, seed, {view, *_views(teachers)})
        held_out = self._loader("validation", {view}, batch_size=self.recipe.evaluate.batch_size, shuffle_seed=None)

        def validate(trained: nn.Module) -> Mapping[str, float]:
            predictions = evaluation.predict(trained, held_out, view)
            return {
                "accuracy": evaluation.accuracy(predictions.logits, predictions.target),
                "nll": evaluation.nll(predictions.logits, predictions.target),
            }

        record = fit(
            network,
            loader,
            objective=objective,
            settings=settings,
            folder=folder,
            fabric=make_fabric(self._device.type, settings),
            view=view,
            teachers=teachers,
            validate=validate,
            progress=self._progress,
            label=label,
        )
        self._save(network, folder, view)
        return {
            "epochs": settings.epochs,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "train_accuracy": record["train_accuracy"],
            "validation": record["validation"],
            "seconds": record["seconds"],
        }

    def _save(self, network: models.Network, folder: RunFolder, view: str) -> None:
        mean, std = self.normalisation
        about = {"classes": list(self.splits.classes), "mean": list(mean), "std": list(std), "view": view}
        about["shape"] = list(self._view_shape(view))
        with runs.atomic(folder.file(WEIGHTS)) as temporary:
            models.save(network, temporary, about)

    def _adopt(self, teacher: Teacher, weights: Path, folder: RunFolder) -> dict[str, Any]:
        network = self._build(teacher.model.name, teacher.view)
        models.load_into(network, weights)
        self._save(network, folder, teacher.view)
        return {"epochs": 0, "parameters": sum(p.numel() for p in network.parameters()), "weights": str(weights)}

    def _teaching(self, name: str, settings: Train) -> Teaching:
        if name not in self.features:
            return self._live_teacher(name, settings)
        folder = RunFolder.open(self.out / self.features[name].folder_name)
        return StoredTeacher(open_features(folder.path, folder.result(), self._device).fetch)

    def _live_teacher(self, name: str, settings: Train) -> LiveTeacher:
        teacher = self.recipe.teachers[name]
        network = self._build(teacher.model.name, teacher.view)
        models.load_into(network, self.out / self.teachers[name].folder_name / WEIGHTS)
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        network.to(device=self._device, memory_format=layout)  # type: ignore[call-overload]
        return LiveTeacher(Frozen(network), teacher.view)

    def _trained(self, stage: Stage, view: str) -> tuple[models.Network, dict[str, Any]]:
        network = self._build(stage.inputs["model"], view)
        about = models.load_into(network, self.out / stage.folder_name / WEIGHTS)
        return network.eval(), about

    def _evaluate(self, stage: Stage, view: str, folder: RunFolder) -> dict[str, Any]:
        network, _ = self._trained(stage, view)
        settings = self.recipe.evaluate
        return evaluation.evaluate(
            network.to(self._device),
            lambda transform: self._loader(
                "test", {view}, batch_size=settings.batch_size, shuffle_seed=None, transform=transform
            ),
            view,
            settings,
            folder.path,
            self._progress,
            label=f"evaluation of {stage.kind} {stage.name}",
        )

    def _export(self, student: Stage, folder: RunFolder) -> dict[str, Any]:
        network, about = self._trained(student, "image")
        test = self.splits.test
        pictures = test.fetch(torch.arange(min(64, len(test)))).cpu()
        self._progress.start(f"export of {student.name}", 1)
        result = export.export_student(network, about, pictures, folder.path)
        self._progress.finish()
        return result

    def _compare(self) -> dict[str, Any]:
        def reference(stage: Stage) -> dict[str, str]:
            return {"run": stage.folder_name, "evaluation": self.evaluations[stage.key].folder_name}

        before = [stage for stage in self.stages() if stage.kind != "comparison"]
        seconds = [RunFolder.open(self.out / stage.folder_name).result()["seconds"] for stage in before]
        return {
            "recipe": self.recipe.name,
            "command": self.command,
            "classes": list(self.splits.classes),
            "seconds": math.fsum(seconds),
            "views": {name: stage.folder_name for name, stage in self.views.items()},
            "teachers": {name: reference(stage) for name, stage in self.teachers.items()},
            "rows": [{"arm": arm, "seed": seed, **reference(s)} for (arm, seed), s in self.students.items()],
            "export": self.exported.folder_name,
            "unreadable": list(self.splits.unreadable),
        }


def _views(teachers: Sequence[Teaching]) -> set[str]:
    """What has to be loaded for teachers that are asked at every step."""
    return {teacher.view for teacher in teachers if isinstance(teacher, LiveTeacher)}


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
