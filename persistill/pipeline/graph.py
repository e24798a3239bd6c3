"""From a recipe to its stages, and through them: what depends on what.

    recipe -> views -> teachers (-> features, preparations) -> students (arms x seeds) -> evaluation -> export -> report

Each stage is a ``Stage``: what it depends on, and the work that fills its run folder and is done in the ``StageJobs``.
Running a recipe walks through the list; a stage whose folder is complete is passed over, so an interrupted recipe goes
on where it stopped.
"""

import hashlib
import math
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from persistill import models, report, run_folder
from persistill.config import Arm, Model, Quantize, Recipe, Teacher, as_methods
from persistill.data import Splits
from persistill.errors import UserError
from persistill.pipeline.comparison import Networks, Trained, compare
from persistill.pipeline.data_module import DataModule
from persistill.pipeline.stage import Stage
from persistill.pipeline.stage_jobs import StageJobs, TeacherRef
from persistill.pipeline.validate import problems
from persistill.run_folder import RunFolder
from persistill.structures import OutputField, Preparation, PreparedMethod
from persistill.training import CHECKPOINT, make_fabric
from persistill.utils.progress import Progress, Silent


class Pipeline:
    """A recipe on its way through the stages.

    Args:
        recipe: what to do.
        out: where the run folders lie.
        device: "auto", "cpu", "cuda" or "mps".
        progress: told of everything that takes time.
        command: the command line that repeats this, for the report.
        splits: the recipe's images, if they were read already or others shall stand in for them.

    Raises:
        UserError: if the recipe asks for what does not exist or does not fit together. Found before any training.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        device: str = "auto",
        progress: Progress | None = None,
        command: str = "",
        splits: Splits | None = None,
    ) -> None:
        self.recipe, self.out, self.command = recipe, out, command
        self._progress = progress or Silent()
        found = problems(recipe)
        if found:
            raise UserError("\n".join(found))
        self._supply = DataModule(recipe, out, make_fabric(device, recipe.train).device, self._progress)
        self._workshop = StageJobs(recipe, self._supply, out, self._progress)
        if splits is not None:
            self._supply.splits = splits.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where networks and batches are."""
        return self._supply.device

    @property
    def splits(self) -> Splits:
        """The images, on the device where they are small."""
        return self._supply.splits

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Channel means and standard deviations of the images: stated by the recipe or measured on training data."""
        return self._supply.normalization

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
            *([self.quantized] if self.quantized else []),
            self.exported,
            *{stage.key: stage for stage in self.costs.values()}.values(),
            self.comparison,
        ]

    @property
    def views(self) -> dict[str, Stage]:
        """View name -> stage."""
        return self._supply.views

    @cached_property
    def teachers(self) -> dict[str, Stage]:
        """Teacher name -> stage."""
        return {name: self._teacher(name, teacher) for name, teacher in self.recipe.teachers.items()}

    @cached_property
    def features(self) -> dict[str, Stage]:
        """Teacher name -> stage that stores what it says of the training images, where the recipe asks for that."""
        if self.recipe.teacher_cache == "off":
            return {}
        arms = self.recipe.arms.values()
        parts = {
            name: frozenset[OutputField]().union(
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
    def quantized(self) -> Stage | None:
        """The stage that trains a copy of the exported student for its int8 file, where the recipe asks for that."""
        quantize, arm, seed = self.recipe.quantize, self.recipe.exported_arm, self.recipe.seeds[0]
        if quantize is None:
            return None
        student = self.students[arm, seed]
        inputs = {
            **self._network_inputs(self.recipe.student, started=True),
            "student": student.key,
            "quantize": quantize.to_json(),
        }
        work = self._training(arm, seed, f"8 bits for {student.name}", student, quantize)
        return Stage("quantized", student.name, inputs, work)

    @cached_property
    def exported(self) -> Stage:
        """The student that leaves the house."""
        student = self.students[self.recipe.exported_arm, self.recipe.seeds[0]]
        measured = self.evaluations[student.key]
        inputs = {"network": student.key, "evaluation": measured.key, "format": 3}
        if self.quantized is not None:
            inputs["quantized"] = self.quantized.key
        return Stage("export", student.name, inputs, partial(self._workshop.export, student, measured, self.quantized))

    @cached_property
    def costs(self) -> dict[str, Stage]:
        """Teacher name, or "" for the student -> stage that measures what such a network costs to run here."""
        teachers = {name: (teacher.model.name, teacher.view) for name, teacher in self.recipe.teachers.items()}
        networks = {"": (self.recipe.student.name, "image"), **teachers}
        return {name: self._cost(model, view) for name, (model, view) in networks.items()}

    @cached_property
    def comparison(self) -> Stage:
        """All arms beside each other."""
        recipe = self.recipe.to_json()
        inputs = {"recipe": recipe, "data": self.splits.fingerprint, "stages": [s.key for s in self.students.values()]}
        return Stage("comparison", self.recipe.name, inputs, self._compare)

    def _teacher(self, name: str, teacher: Teacher) -> Stage:
        view = teacher.view if teacher.view == "image" else self.views[teacher.view].key
        inputs: dict[str, Any] = {**self._network_inputs(teacher.model), "view": view}
        if teacher.weights is not None:
            weights = Path(teacher.weights)
            inputs["weights"] = _file_hash(weights)
            return Stage("teacher", name, inputs, partial(self._workshop.adopt_teacher, teacher, weights))
        settings = teacher.train or self.recipe.train
        inputs |= {"train": settings.to_json(), "seed": self.recipe.teacher_seed}
        return Stage("teacher", name, inputs, partial(self._workshop.train_teacher, name, teacher))

    def _features(self, name: str, parts: frozenset[OutputField]) -> Stage:
        tutor = TeacherRef(self.recipe.teachers[name], self.teachers[name])
        inputs = {"teacher": tutor.trained.key, "parts": sorted(parts), "precision": self.recipe.teacher_cache}
        return Stage("features", name, inputs, partial(self._workshop.store_features, tutor, parts))

    def _preparation(self, arm: Arm, preparation: Preparation) -> Stage:
        settings = arm.train or self.recipe.train
        inputs = {
            "preparation": preparation.to_json(),
            "teachers": self._teacher_inputs(arm),
            "batches": {
                "size": settings.batch_size,
                "augment": list(settings.augment),
                "padding": settings.crop_padding,
                "crop_size": settings.crop_size,
            },
            "seed": self.recipe.teacher_seed,
        }
        work = partial(self._workshop.prepare, preparation, self._tutors(arm), settings)
        return Stage("preparation", "-".join([type(preparation).__name__, *arm.teachers]), inputs, work)

    def _student(self, name: str, arm: Arm, seed: int, start: Stage | None) -> Stage:
        settings = arm.train or self.recipe.train
        inputs: dict[str, Any] = {
            **self._network_inputs(self.recipe.student, started=start is not None),
            "cross_entropy": arm.cross_entropy,
            "methods": [method.to_json() for method in arm.methods],
            "start": start.key if start else None,
            "train": settings.to_json(),
            "seed": seed,
            **self._teacher_inputs(arm),
        }
        preparations = self._prepared(name)
        if any(preparations):
            inputs["preparations"] = [stage.key if stage else None for stage in preparations]
        work = self._training(name, seed, f"student {name}, seed {seed}", start)
        return Stage("student", f"{name}-seed{seed}", inputs, work)

    def _training(
        self, name: str, seed: int, label: str, start: Stage | None, quantize: Quantize | None = None
    ) -> Callable[[RunFolder], dict[str, Any]]:
        """The work of training a student of an arm, or of training one on for 8 bits."""
        arm = self.recipe.arms[name]
        return partial(
            self._workshop.train_student,
            arm,
            seed,
            label=label,
            start=start,
            tutors=self._tutors(arm),
            preparations=self._prepared(name),
            quantize=quantize,
        )

    def _prepared(self, name: str) -> list[Stage | None]:
        """The preparations of an arm's methods, None for a method without."""
        return [self.preparations.get((name, position)) for position in range(len(self.recipe.arms[name].methods))]

    def _evaluation(self, stage: Stage, view: str) -> Stage:
        inputs = {"network": stage.key, "settings": self.recipe.evaluate.to_json(), "data": self.splits.fingerprint}
        if view == "image" and self._supply.ood is not None:
            inputs["ood"] = self._supply.ood.fingerprint
        return Stage("evaluation", stage.name, inputs, partial(self._workshop.evaluate, stage, view))

    def _cost(self, model: str, view: str) -> Stage:
        inputs = {
            "model": model,
            "shape": list(self._supply.view_shape(view)),
            "classes": len(self.splits.classes),
            "machine": {**run_folder.circumstances()["hardware"], "threads": torch.get_num_threads()},
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            "torch": torch.__version__,
        }
        return Stage("cost", model, inputs, partial(self._workshop.measure_cost, model, view))

    def _tutors(self, arm: Arm) -> list[TeacherRef]:
        return [
            TeacherRef(self.recipe.teachers[name], self.teachers[name], self.features.get(name))
            for name in arm.teachers
        ]

    def _teacher_inputs(self, arm: Arm) -> dict[str, Any]:
        inputs: dict[str, Any] = {"teachers": [self.teachers[teacher].key for teacher in arm.teachers]}
        if arm.teachers and self.recipe.teacher_cache != "off":
            # Which parts are stored depends on the other arms, and changes nothing for this one.
            inputs["teacher_cache"] = self.recipe.teacher_cache
        return inputs

    def _network_inputs(self, model: Model, *, started: bool = False) -> dict[str, Any]:
        """What a network depends on whichever it is; its initial weights, unless another network's are its start."""
        mean, std = self.normalization
        inputs = {"data": self.splits.fingerprint, "mean": list(mean), "std": list(std), "model": model.name}
        if model.initial is not None and not started:
            published = model.initial == models.PRETRAINED
            inputs["initial"] = models.find_published(model.name).name if published else _file_hash(Path(model.initial))
        return inputs

    # --- the walk through them ------------------------------------------------------------------------------------

    def run(self) -> RunFolder:
        """Run what is not complete, and write the report.

        Returns:
            The comparison's folder.

        Raises:
            UserError: if a folder was written by another recipe, or a stage finds a mistake that its user can mend.
        """
        self.probe()
        for stage in self.stages():
            context = {"recipe": self.recipe.to_json(), "stage": stage.kind, "computed": self._computed}
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

    @property
    def _computed(self) -> dict[str, Any]:
        """What sums depend on beside the stages' inputs: another number of threads adds up in another order."""
        return {"device": self.device.type, "threads": torch.get_num_threads()}

    def probe(self) -> None:
        """Send two random images through every arm, untrained: what does not fit shows now, not after the teachers.

        Raises:
            UserError: if networks, views and methods do not fit together.
        """
        self._workshop.probe()

    def _compare(self, folder: RunFolder) -> dict[str, Any]:
        def trained(stage: Stage) -> Trained:
            return Trained(stage.folder_name, self.evaluations[stage.key].folder_name)

        before = [stage for stage in self.stages() if stage.kind != "comparison"]
        seconds = [RunFolder.open(self.out / stage.folder_name).result()["seconds"] for stage in before]
        networks = Networks(
            self.out,
            teachers={name: trained(stage) for name, stage in self.teachers.items()},
            students={key: trained(stage) for key, stage in self.students.items()},
            views={name: teacher.view for name, teacher in self.recipe.teachers.items()},
        )
        return {
            "recipe": self.recipe.name,
            "command": self.command,
            "classes": list(self.splits.classes),
            "seconds": math.fsum(seconds),
            "views": {name: stage.folder_name for name, stage in self.views.items()},
            "export": self.exported.folder_name,
            "unreadable": list(self.splits.unreadable),
            "costs": {
                "student": self.costs[""].folder_name,
                "teachers": {name: self.costs[name].folder_name for name in self.teachers},
            },
            **compare(networks, folder.path, self._supply.look, self._progress),
        }


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
