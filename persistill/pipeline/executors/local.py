"""One stage after another, in this process, beside other processes that may do the same."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage, computed_with, in_order
from persistill.run_folder import RunFolder
from persistill.utils.file_lock import LockHeldError
from persistill.utils.stop_signals import stop_if_asked

_ROUNDED = frozenset({"teacher", "features", "preparation", "student", "evaluation", "quantized"})
"""Kinds of stages whose last digits depend on the number of threads and on the device."""
_SECONDS = 0.2
"""Between two looks at stages that other processes work at."""


def run(stages: Iterable[Stage], context: Context, done: Callable[[Stage, RunFolder], None] = lambda *_: None) -> None:
    """Run stages and all that they depend on. Those whose run folders are complete are passed over.

    A stage at which another process works is left for later, so that several processes share one recipe; where
    nothing else is left to do, its end is waited for.

    Args:
        stages: to run.
        context: what they are worked with.
        done: called after each stage.

    Raises:
        UserError: if a folder was written by another recipe, or a stage finds a mistake that its user can mend.
    """
    left, others = in_order(stages), Counter[str]()
    while left:
        stop_if_asked()
        ready = [stage for stage in left if not any(earlier in left for earlier in stage.depends_on)]
        stage, folder = _first_free(ready, context)
        left.remove(stage)
        done(stage, folder)
        others.update(_differences(folder, context))
    if others:
        context.progress.start("reused", 1)
        context.progress.finish(_told(others, context))


def _differences(folder: RunFolder, context: Context) -> list[str]:
    """In words, on what other device or with how many other threads than this run's a stage was computed."""
    now = computed_with(context)
    then = {**now, **folder.computed}
    return [f"on {then['device']} with {then['threads']} thread(s)"] if folder.kind in _ROUNDED and then != now else []


def _told(others: Mapping[str, int], context: Context) -> str:
    parts = [f"{count} stage(s) {how}" for how, count in others.items()]
    now = computed_with(context)
    return (
        f"{', '.join(parts)}; here it is {now['device']} with {now['threads']}: computed again, they would differ in "
        "their last digits"
    )


def _first_free(ready: Sequence[Stage], context: Context) -> tuple[Stage, RunFolder]:
    """Run the first of some stages that no other process works at."""
    told = False
    while True:
        stop_if_asked()
        for stage in ready:
            try:
                return stage, stage.run(context, wait=False)
            except LockHeldError:
                continue
        if not told:
            names = ", ".join(stage.folder_name for stage in ready)
            context.progress.start("waiting", 1)
            context.progress.finish(f"for another process, which works at {names}")
            told = True
        time.sleep(_SECONDS)
