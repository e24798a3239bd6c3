"""A step of a recipe, and the order of many."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from persistill import run_folder
from persistill.pipeline.context import Context
from persistill.pipeline.out_of_memory import told_what_to_lower
from persistill.run_folder import DamagedRunError, RunFolder
from persistill.utils.stop_signals import stop_if_asked
from persistill.utils.thread_count import computing_with
from persistill.utils.units import counted


class Stage(ABC):
    """One step of a recipe. Each kind of stage is a subclass, in a file of its own in ``pipeline/stages/``.

    A stage holds settings and other stages, nothing that is open or was computed: what it works with it is given as
    the context, and what others left it reads from their run folders. So any process that has the recipe can run it.

    Attributes:
        kind: of its run folder.
        name: of its run folder.
        inputs: all that its result depends on, plain JSON.
        depends_on: the stages whose run folders it reads.
    """

    kind: ClassVar[run_folder.Kind]
    measures_time: ClassVar[bool] = False
    """Whether it measures how fast something is, beside which nothing else should run."""

    def __init__(self, name: str, inputs: dict[str, Any], depends_on: Sequence["Stage"] = ()) -> None:
        self.name, self.inputs, self.depends_on = name, inputs, tuple(depends_on)

    @property
    def shared(self) -> bool:
        """Whether all ranks work at it together, and not the first one alone."""
        return False

    @abstractmethod
    def work(self, context: Context, folder: RunFolder) -> dict[str, Any]:
        """Fill the run folder. Called again after an interruption, it goes on from what lies there.

        Returns:
            The stage's result, plain JSON.
        """

    @cached_property
    def key(self) -> str:
        """Hash of the inputs."""
        return run_folder.key_of(self.kind, self.inputs)

    @property
    def folder_name(self) -> str:
        """The run folder's name below the root."""
        return run_folder.place(Path(), self.kind, self.name, self.key).name

    def open(self, context: Context) -> RunFolder:
        """The run folder, which must exist."""
        if not (context.out / self.folder_name / "done.json").is_file():
            context.runs.fetch(self.folder_name, now=True)
        return RunFolder.open(context.out / self.folder_name)

    def complete(self, context: Context) -> bool:
        """Whether it finished."""
        return context.runs.fetch(self.folder_name)

    def run(self, context: Context, *, wait: bool = True) -> RunFolder:
        """Do the work, if the run folder is not complete. The stages that it depends on must be.

        Args:
            context: what it is worked with.
            wait: for another process that works at the same run folder.

        Raises:
            UserError: if the folder was written by another recipe, or the user can mend what the work came upon.
            LockHeldError: if another process works at it, and ``wait`` is false.
        """
        runs, name = context.runs, self.folder_name
        with run_folder.locked(context.out / name, wait=wait), contextlib.ExitStack() as held:
            if not runs.fetch(name, locked=True, now=True):
                held.enter_context(runs.leased(name, wait=wait))
                runs.fetch(name, locked=True, now=True)  # whoever held it may have come to the end
            self._run(context)
            runs.publish(name)
            return self.open(context)

    def finished(self, context: Context) -> RunFolder | None:
        """The run folder, if it is complete, and as the stages that it depends on left it; None if there is work."""
        if not self.complete(context) or not context.runs.published(self.folder_name):
            return None
        folder = self.open(context)
        known = folder.key == self.key and _outdated(folder, self._built_on(context)) is None
        return folder if known else None

    def _built_on(self, context: Context) -> dict[str, str]:
        return {stage.folder_name: stage.open(context).digest() for stage in self.depends_on}

    def _run(self, context: Context) -> None:
        about: dict[str, Any] = {"recipe": context.recipe.to_json(), "stage": self.kind}
        about["computed"] = computed_with(context)
        if context.ranks.size > 1:
            about["ranks"] = context.ranks.size
        built_on = self._built_on(context)
        if not (context.out / self.folder_name / "done.json").is_file():
            context.runs.take_up(self.folder_name)
        folder = RunFolder.create(context.out, self.kind, self.name, self.inputs, about)
        folder.sweep()
        if folder.complete and (problem := _outdated(folder, built_on)) is not None:
            stop_if_asked()
            context.progress.start(f"{self.kind} {self.name}", 1)
            moved = folder.move_aside()
            whole = self._brought_again(context, built_on)
            context.progress.finish(f"{problem} Moved to {moved}; {'brought' if whole else 'computed'} again.")
            folder = RunFolder.create(context.out, self.kind, self.name, self.inputs, about)
        if not folder.complete:
            began = time.perf_counter()
            with (
                context.runs.handing_on(self.folder_name),
                _as_begun(folder, context),
                told_what_to_lower(self.kind, self.name),
            ):
                if self.shared:
                    context.ranks.from_leader((self.folder_name, torch.get_num_threads(), folder.about["created"]))
                result = self.work(context, folder)
            folder.finish({"seconds": round(time.perf_counter() - began, 3), **result}, built_on)
            folder.sweep()

    def _brought_again(self, context: Context, built_on: dict[str, str]) -> bool:
        """Whether a whole one came from where run folders are handed on to; if not, none lies there any more."""
        if context.runs.fetch(self.folder_name, locked=True, now=True):
            folder = self.open(context)
            if _outdated(folder, built_on) is None:
                return True
            folder.move_aside()
        context.runs.retract(self.folder_name)
        return False


def computed_with(context: Context) -> dict[str, Any]:
    """What sums depend on beside the inputs: another number of threads adds up in another order."""
    return {"device": context.device.type, "threads": torch.get_num_threads()}


@contextlib.contextmanager
def _as_begun(folder: RunFolder, context: Context) -> Iterator[None]:
    """Work at a stage with the number of threads that it was begun with: it ends as if it had not been interrupted."""
    now = computed_with(context)
    begun = {**now, **folder.computed}
    differences = []
    if begun["device"] != now["device"]:
        differences.append(f"on {now['device']} what began on {begun['device']}: its last digits are another's")
    if begun["threads"] != now["threads"]:
        differences.append(f"with {counted(begun['threads'], 'thread')}, as it began, instead of {now['threads']}")
    if differences:
        context.progress.start(f"{folder.kind} {folder.name}", 1)
        context.progress.finish(f"goes on {' and '.join(differences)}")
    with computing_with(begun["threads"]):
        yield


def _outdated(folder: RunFolder, built_on: dict[str, str]) -> str | None:
    """Why a finished stage is not believed; None if its files, and those that it was made of, are as they were."""
    try:
        folder.verify()
    except DamagedRunError as error:
        return str(error).partition(". Run its recipe")[0] + "."
    # Another recipe may reach the same stage over other folders, which hold the same: only what both name is compared.
    before = folder.built_on()
    changed = [name for name, digest in built_on.items() if before.get(name, digest) != digest]
    return f"What {', '.join(changed)} left has changed since." if changed else None


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Stages and all that they depend on, each once and after those that it depends on, else in the order given."""
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.folder_name not in ordered:
            for earlier in stage.depends_on:
                visit(earlier)
            ordered[stage.folder_name] = stage

    for stage in stages:
        visit(stage)
    return list(ordered.values())
