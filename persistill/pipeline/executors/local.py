"""One stage after another, in this process, beside other processes that may do the same."""

import time
from collections.abc import Callable, Iterable, Sequence

from persistill.pipeline.context import Context
from persistill.pipeline.executors.walk import Task, Walk
from persistill.pipeline.stage import Stage
from persistill.run_folder import RunFolder
from persistill.utils.file_lock import LockHeldError
from persistill.utils.stop_signals import stop_if_asked

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
    walk = Walk()
    walk.add(stages, context)
    while walk:
        stop_if_asked()
        task, folder = _first_free(walk.ready(), context)
        done(task.stage, folder)
        walk.finished(task, folder)
    walk.tell_of_others(context)


def _first_free(ready: Sequence[Task], context: Context) -> tuple[Task, RunFolder]:
    """Run the first of some stages that no other process works at."""
    told = False
    while True:
        stop_if_asked()
        for task in ready:
            try:
                return task, task.stage.run(context, wait=False)
            except LockHeldError:
                continue
        if not told:
            tell_of_waiting(ready, context)
            told = True
        time.sleep(_SECONDS)


def tell_of_waiting(tasks: Iterable[Task], context: Context) -> None:
    """Tell that another run works at all that can be done now."""
    context.progress.start("waiting", 1)
    context.progress.finish(f"for another process, which works at {', '.join(task.name for task in tasks)}")
