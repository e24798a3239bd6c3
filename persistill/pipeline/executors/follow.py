"""Ranks but the first: they work at what it works at together with them, and wait in between."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persistill.ranks import Ranks
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
        name, threads = told
        stage = pipeline().stage(name)
        with computing_with(threads):
            stage.work(pipeline().context, stage.open(pipeline().context))
