"""Ranks but the first: they work at what it works at together with them, and wait in between."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistill.errors import UserError
from persistill.pipeline.out_of_memory import told_what_to_lower
from persistill.pipeline.stage import Stage
from persistill.ranks import Ranks
from persistill.run_folder import RunFolder
from persistill.utils.thread_count import computing_with

if TYPE_CHECKING:
    from persistill.pipeline.runner import Pipeline


def follow(make: Callable[[], "Pipeline"], ranks: Ranks) -> Path:
    """Work at the stages that the first rank names.

    Args:
        make: the pipeline of the recipe; called when the first rank has its own, so that images were fetched already.
        ranks: of which this is not the first.

    Returns:
        The comparison's folder, once the first rank is done.

    Raises:
        UserError: if memory runs out, or run folders lie where this rank does not see them.
    """

    @cache
    def pipeline() -> "Pipeline":
        made = make()
        made.context.data.keep_resized(made.out)  # as the first rank did: it lies there, and is read
        return made

    while True:
        told: Any = ranks.from_leader(None)
        if isinstance(told, Path):
            return told
        name, threads, created = told
        stage = pipeline().stage(name)
        with computing_with(threads), told_what_to_lower(stage.kind, stage.name):
            stage.work(pipeline().context, _same_folder(pipeline(), stage, created, ranks))


def _same_folder(pipeline: "Pipeline", stage: Stage, created: str, ranks: Ranks) -> RunFolder:
    """The run folder that the first rank works at, and not another one of that name."""
    if (pipeline.out / stage.folder_name / "run.json").is_file():
        folder = stage.open(pipeline.context)
        if folder.about["created"] == created:
            return folder
    raise UserError(
        f"process {ranks.rank + 1} of {ranks.size} does not see the run folder {stage.folder_name} in {pipeline.out}, "
        "at which the first one works: name the same place with --out on all machines, on a disk that they share. With "
        "a URL, PERSISTILL_CACHE must name such a place."
    )
