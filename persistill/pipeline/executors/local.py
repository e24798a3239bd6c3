"""One stage after another, in this process."""

from collections.abc import Callable, Iterable

from persistill.pipeline.context import Context
from persistill.pipeline.stage import Stage, in_order
from persistill.run_folder import RunFolder


def run(stages: Iterable[Stage], context: Context, done: Callable[[Stage, RunFolder], None] = lambda *_: None) -> None:
    """Run stages and all that they depend on. Those whose run folders are complete are passed over.

    Args:
        stages: to run.
        context: what they are worked with.
        done: called after each stage.

    Raises:
        UserError: if a folder was written by another recipe, or a stage finds a mistake that its user can mend.
    """
    for stage in in_order(stages):
        done(stage, stage.run(context))
