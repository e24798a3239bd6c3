"""What another process is told, and what it answers."""

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import cloudpickle
import torch

from persistill.config import Recipe
from persistill.errors import UserError
from persistill.pipeline.context import Context
from persistill.storage import is_url
from persistill.utils.remote_fault import RemoteFaultError
from persistill.utils.thread_count import all_threads


@dataclass(frozen=True)
class Job:
    """All that another process needs to work at the stages of a recipe.

    Attributes:
        recipe: what to do.
        out: where the run folders lie: a folder, from the root of the file system, or a URL.
        folder: in which relative paths of the recipe begin, where there is one of that name.
        threads: to compute with.
        all_threads: that there are without that choice, which is kept where times are measured.
        command: as in ``Context``.
        auto_batch: as in ``Context``.
        fingerprint: of the images.
    """

    recipe: Recipe
    out: str
    folder: str
    threads: int
    all_threads: int
    command: str
    auto_batch: bool
    fingerprint: str

    @classmethod
    def of(cls, context: Context) -> "Job":
        """The job of a recipe on its way, with as many threads as torch computes with now.

        Raises:
            UserError: if the run folders lie where no other process finds them.
        """
        place = context.runs.place if is_url(context.runs.place) else str(context.out.resolve())
        if place.startswith("memory:"):
            raise UserError(f"{place} is the memory of one process: leave out --workers and --executor.")
        return cls(
            recipe=context.recipe,
            out=place,
            folder=str(Path.cwd()),
            threads=torch.get_num_threads(),
            all_threads=all_threads(),
            command=context.command,
            auto_batch=context.auto_batch,
            fingerprint=context.data.splits.fingerprint,
        )

    def packed(self) -> bytes:
        """As bytes. Classes that only the recipe's file knows travel with it.

        Raises:
            UserError: if something in the recipe cannot be sent to another process.
        """
        try:
            content: bytes = cloudpickle.dumps(self)
        except Exception as error:
            raise UserError(
                f"the recipe cannot be sent to another process ({type(error).__name__}: {error}). Run it in this one, "
                "without --workers and --executor."
            ) from error
        return content


@dataclass(frozen=True)
class Outcome:
    """What became of a stage in another process.

    Attributes:
        status: "done"; "held", if another run works at it; "stopped", by a signal; "failed".
        error: what was raised; None if it was nothing, or cannot be sent.
        said: what was raised, in words.
        trace: the traceback.
        frames: file, line and name of each call, outermost first.
    """

    status: Literal["done", "held", "stopped", "failed"]
    error: BaseException | None = None
    said: str = ""
    trace: str = ""
    frames: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def of_error(cls, error: BaseException) -> "Outcome":
        """The outcome of a stage that raised something."""
        frames = tuple((f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(error.__traceback__))
        trace = "".join(traceback.format_exception(error))
        said = f"{type(error).__name__}: {error}"
        try:
            kept = cloudpickle.loads(cloudpickle.dumps(error.with_traceback(None)))
        except Exception:  # noqa: BLE001 - whatever a class of somebody's raises where it is copied
            kept = UserError(str(error)) if isinstance(error, UserError) else None
        return cls("failed", kept if isinstance(kept, BaseException) else None, said, trace, frames)

    def raise_error(self) -> NoReturn:
        """Raise what was raised there, caused by ``RemoteFaultError``, which knows where."""
        cause = RemoteFaultError(self.trace, self.frames)
        raise (self.error or RuntimeError(self.said)) from cause
