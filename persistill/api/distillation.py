"""Images and two networks in, a compared and exported student out: the plan of it, and its way."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from persistill import models
from persistill.api.progress_bars import watched
from persistill.api.recipe_run import run
from persistill.api.result import Result
from persistill.autoconfig import (
    DEFAULT_METHOD,
    Chosen,
    Initial,
    Options,
    Role,
    TeacherCheckpoint,
    as_command,
    as_python,
    defaults_of,
    guess_task,
    look_at_initial,
    look_at_weights,
    make_recipe,
)
from persistill.config import BEST, Data, Recipe
from persistill.data import Splits
from persistill.data.sources.inspect import Outline
from persistill.errors import UserError
from persistill.pipeline import Pipeline
from persistill.pipeline.cost_estimate import Estimate, estimate
from persistill.storage import check_out, open_runs
from persistill.utils import atomic_io
from persistill.utils.progress import Progress
from persistill.utils.units import file_size


class Plan:
    """A distillation that is planned and not begun; ``plan`` makes one.

    Attributes:
        recipe: what will be run.
        reasons: why it is as it is, a sentence each.
        given_teacher: what is known of a teacher that came with weights; None for one that is trained.
        command: the command line that does the same.
        out: where run folders will be written: a folder or a URL.
        device: on which networks will be trained.
    """

    def __init__(
        self, chosen: Chosen, given_teacher: TeacherCheckpoint | None, command: str, out: str, device: str
    ) -> None:
        self.recipe: Recipe = chosen.recipe
        self.reasons = chosen.reasons
        self.given_teacher = given_teacher
        self.command = command
        self.out = out
        self.device = device
        self._splits: Splits | None = None

    def pipeline(self, progress: Progress) -> Pipeline:
        """The stages of the recipe; its images are read once, however often this is asked for."""
        pipeline = Pipeline(
            self.recipe, self.out, device=self.device, progress=progress, command=self.command, splits=self._splits
        )
        self._splits = pipeline.splits
        return pipeline

    def estimate(self, progress: Progress | None = None) -> Estimate:
        """Time, memory and disk of what is left to do, measured on a few steps of each training.

        Args:
            progress: told of the steps; None for bars in a terminal or notebook.
        """
        with watched(progress) as bars:
            return estimate(self.pipeline(bars), bars)

    def require_space(self, expected: Estimate) -> None:
        """Stop before what will not fit on the disk.

        Raises:
            UserError: if it will not.
        """
        place = open_runs(self.out).path.resolve()
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if expected.bytes > free:
            raise UserError(
                f"about {file_size(expected.bytes)} will be written below {place}, and {file_size(free)} are free "
                "there. Name another place with --out, or have less stored: --set teacher_cache=off asks teachers at "
                "every step instead."
            )

    def save(self, path: str | Path) -> Path:
        """Write the recipe as a Python file, to be edited and run with ``persistill run``.

        Args:
            path: a new file.

        Raises:
            UserError: if it exists, or its folder does not.
        """
        path = new_file(path)
        first = f"{self.recipe.student.name} taught by {self.recipe.teachers['image'].model.name}."
        reasons = "\n".join(textwrap.fill(f"* {reason}", 118, subsequent_indent="  ") for reason in self.reasons)
        docstring = f"{first}\n\nWritten by:\n\n    {self.command}\n\n{reasons}"
        with atomic_io.atomic(path) as temporary:
            temporary.write_text(as_python(self.recipe, docstring), encoding="utf-8")
        return path

    def run(
        self,
        progress: Progress | None = None,
        *,
        workers: int | None = None,
        executor: str | None = None,
        memory: int | None = None,
    ) -> Result:
        """Do it. Interrupted and run again, it goes on where it stopped.

        Args:
            progress: told of everything that takes time; None for bars in a terminal or notebook.
            workers: as for ``persistill.run``.
            executor: likewise.
            memory: likewise; ``estimate`` tells it.
        """
        with watched(progress) as bars:
            return run(
                self.recipe,
                out=self.out,
                device=self.device,
                progress=bars,
                command=self.command,
                splits=self._splits,
                workers=workers,
                executor=executor,
                memory=memory,
            )

    def __repr__(self) -> str:
        arms = ", ".join(self.recipe.arms)
        reasons = "\n".join(f"- {reason}" for reason in self.reasons)
        return f"Plan of {self.recipe.name}: students {arms}; seeds {self.recipe.seeds}\n{reasons}"


def new_file(path: str | Path) -> Path:
    """A path at which nothing is, in a folder that exists.

    Raises:
        UserError: if it is not so.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} exists already and was not overwritten; give --save-recipe another name.")
    if not path.parent.is_dir():
        raise UserError(f"--save-recipe: there is no folder {path.parent}; make it first.")
    return path


def plan(
    data: str | Path,
    teacher: str,
    student: str,
    *,
    task: str | None = None,
    method: str | Sequence[str] = DEFAULT_METHOD,
    teacher_weights: str | Path | None = None,
    teacher_initial: str | Path | None = None,
    student_initial: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    augment: bool | None = None,
    int8_epochs: int | None = None,
    formats: Sequence[str] | None = None,
    quick: bool = False,
    export: str = BEST,
    changes: Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    device: str = "auto",
) -> Plan:
    """Look at images and networks, and choose whatever is not stated; nothing is trained and nothing is written.

    Takes what ``distill`` takes.

    Raises:
        UserError: if there are no such images, networks, weights or methods, or they do not fit together.
    """
    place = check_out(out)
    guessed, reason = guess_task(str(data)) if task is None else (task, "")
    options = Options(
        data=str(data),
        task=guessed,
        teacher=teacher,
        student=student,
        methods=(method,) if isinstance(method, str) else tuple(method),
        teacher_weights=_text(teacher_weights),
        teacher_initial=_text(teacher_initial),
        student_initial=_text(student_initial),
        size=(size, size) if isinstance(size, int) else size,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seeds=tuple(seeds),
        augment=augment,
        int8_epochs=int8_epochs,
        formats=None if formats is None else tuple(formats),
        quick=quick,
        export=export,
    )
    changes = changes or {}
    chosen, given = _choose(options, changes, reason)
    return Plan(chosen, given, as_command(options, changes, place), place, device)


def distill(
    data: str | Path,
    teacher: str,
    student: str,
    *,
    task: str | None = None,
    method: str | Sequence[str] = DEFAULT_METHOD,
    teacher_weights: str | Path | None = None,
    teacher_initial: str | Path | None = None,
    student_initial: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    augment: bool | None = None,
    int8_epochs: int | None = None,
    formats: Sequence[str] | None = None,
    quick: bool = False,
    export: str = BEST,
    changes: Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    device: str = "auto",
    progress: Progress | None = None,
    workers: int | None = None,
    executor: str | None = None,
) -> Result:
    """Distill a student from a folder of images and the names of two networks; no recipe needed.

    The student is trained alone, and once more for each method with the teacher's help, on several seeds, so that
    the result tells whether distillation helped. Interrupted and called again, it goes on where it stopped.

    Args:
        data: a folder with one folder of images a class, of Parquet or of tar files, or a hub name (owner/name).
        teacher: a network's name: "wrn-16-2", "timm/NAME", "torchvision/NAME" or "package.module:function".
        student: likewise. Detectors are "fcos:NAME", "retinanet:NAME", "faster-rcnn:NAME" and torchvision's.
        task: "classification", "segmentation" or "detection"; None for what the layout of the data speaks for.
        method: "tgd", "kd", "sp", "at", "amd", "dkd", ...; several for one student each; "kd+at" adds two up.
        teacher_weights: safetensors of a teacher for these classes; None to train it first.
        teacher_initial: from what the teacher's training starts: "pretrained" or a safetensors file.
        student_initial: likewise, that of every student.
        size: to which images are brought, (height, width) or one number for a square.
        epochs: of every training.
        batch_size: of every training.
        lr: the student's peak learning rate.
        seeds: one student per method and seed.
        augment: random crops, and flips of colored images; None for yes.
        formats: in which the student is exported beside its weights: some of "onnx", "int8", "program", "executorch";
            None for all.
        int8_epochs: train the exported student on for so long, rounded to 8 bits, for its int8 file.
        quick: measure networks without corruptions, attacks and the similarity to the teacher.
        export: whose student is exported, "alone" or a method's name, of all seeds the one best on validation images;
            "best" for that of any.
        changes: of any other field of the recipe, field path -> value: ``{"train.weight_decay": 1e-4}``.
        out: where run folders are written: a folder, or a URL that fsspec knows.
        device: "auto", "cpu", "cuda", "cuda:0" or "mps".
        progress: told of everything that takes time; None for bars in a terminal or notebook.
        workers: stages that are worked at at the same time, as for ``persistill.run``.
        executor: where they are worked at, likewise.

    Returns:
        The comparison: table, verdict, report, exported student.

    Raises:
        UserError: if there are no such images, networks, weights or methods, or they do not fit together. Found
            before any training.
    """
    return plan(
        data,
        teacher,
        student,
        task=task,
        method=method,
        teacher_weights=teacher_weights,
        teacher_initial=teacher_initial,
        student_initial=student_initial,
        size=size,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seeds=seeds,
        augment=augment,
        int8_epochs=int8_epochs,
        formats=formats,
        quick=quick,
        export=export,
        changes=changes,
        out=out,
        device=device,
    ).run(progress, workers=workers, executor=executor)


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _choose(options: Options, changes: Mapping[str, Any], why: str) -> tuple[Chosen, TeacherCheckpoint | None]:
    defaults = defaults_of(options.task)
    for name in (options.teacher, options.student):
        models.check(name)
    of_data = {field.removeprefix("data."): value for field, value in changes.items() if field.startswith("data.")}
    settings = Data(source=options.data).with_values(of_data)
    seen = defaults.outline(settings)
    given = None
    if options.teacher_weights is not None:
        given = look_at_weights(
            Path(options.teacher_weights),
            options.teacher,
            seen,
            options.size or settings.size or defaults.choose_size(seen.sizes),
            options.data,
            options.task,
        )
    wanted = options.size or settings.size or (given and given.size) or defaults.choose_size(seen.sizes)
    for name in (options.teacher, options.student):
        try:
            models.build(name, 1 if seen.gray else 3, len(seen.classes), wanted)
        except UserError as error:
            if "/" not in name:  # no network of a library, which may be made for some sizes only
                raise
            square = 32 * max(1, round(min(wanted) / 32))
            raise UserError(f"{error} Here: --size {square}x{square} brings images to such a size.") from None
    recipe, reasons = make_recipe(options, seen, given, _initial_weights(options, seen, wanted), changes)
    return Chosen(recipe, (*([why] if why else []), *reasons)), given


def _initial_weights(options: Options, seen: Outline, size: tuple[int, int]) -> dict[Role, Initial]:
    stated: dict[Role, tuple[str | None, str]] = {
        "teacher": (options.teacher_initial, options.teacher),
        "student": (options.student_initial, options.student),
    }
    return {
        role: look_at_initial(initial, name, f"--{role}-initial", seen, size)
        for role, (initial, name) in stated.items()
        if initial is not None
    }
