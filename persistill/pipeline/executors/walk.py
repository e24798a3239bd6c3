"""What is left to do of one or several recipes, and what of it can be done now."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from persistill.pipeline.context import Context
from persistill.pipeline.executors.job import Outcome
from persistill.pipeline.stage import Stage, computed_with, in_order
from persistill.run_folder import RunFolder
from persistill.utils.units import counted

_ROUNDED = frozenset({"teacher", "features", "preparation", "student", "evaluation", "quantized"})
"""Kinds of stages whose last digits depend on the number of threads and on the device."""


@dataclass(frozen=True)
class Task:
    """A stage, and what it is worked with."""

    stage: Stage
    context: Context

    @property
    def name(self) -> str:
        """The name of its run folder, which no two tasks of a walk share."""
        return self.stage.folder_name


class Walk:
    """Stages on their way, each after those that it depends on.

    Recipes may be added on the way, and taken back. What several of them have in common is done once; so they must
    have their run folders in one place.

    Args:
        failed: told of a task that failed, and what of it; None to have its error raised.
    """

    def __init__(self, failed: Callable[[Task, Outcome], None] | None = None) -> None:
        self._failed = failed
        self._left: dict[str, Task] = {}
        self._others: Counter[str] = Counter()

    def __bool__(self) -> bool:
        """Whether something is left to do."""
        return bool(self._left)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def add(self, stages: Iterable[Stage], context: Context) -> None:
        """Add stages, and all that they depend on."""
        for stage in in_order(stages):
            self._left.setdefault(stage.folder_name, Task(stage, context))

    def keep(self, stages: Iterable[Stage]) -> None:
        """Take back all but some stages and what they depend on."""
        kept = {stage.folder_name for stage in in_order(stages)}
        self._left = {name: task for name, task in self._left.items() if name in kept}

    def ready(self) -> list[Task]:
        """What depends on nothing that is left, in the order of the recipe."""
        return [
            task
            for task in self._left.values()
            if not any(earlier.folder_name in self._left for earlier in task.stage.depends_on)
        ]

    def pass_over_finished(self, at_work: Container[str]) -> None:
        """Note as done what lies there complete, but for what somebody works at."""
        looked_at, found = set[str](), True
        while found:
            found = False
            for task in self.ready():
                if task.name in at_work or task.name in looked_at:
                    continue
                looked_at.add(task.name)
                folder = task.stage.finished(task.context)
                if folder is not None:
                    self.finished(task, folder)
                    found = True

    def next_task(self, at_work: Mapping[str, Task], most: int, leave: Container[str]) -> Task | None:
        """What is to be begun now; None if nothing is. Times are measured while nothing else is worked at.

        Args:
            at_work: name -> what is worked at.
            most: tasks at the same time.
            leave: names of what is not to be begun now.
        """
        if len(at_work) >= most or any(task.stage.measures_time for task in at_work.values()):
            return None
        free = [task for task in self.ready() if task.name not in at_work and task.name not in leave]
        return next((task for task in free if not (task.stage.measures_time and at_work)), None)

    def finished(self, task: Task, folder: RunFolder) -> None:
        """Note that a task is done."""
        self._left.pop(task.name, None)
        now = computed_with(task.context)
        then = {**now, **folder.computed}
        if folder.kind in _ROUNDED and then != now:
            self._others[f"on {then['device']} with {counted(then['threads'], 'thread')}"] += 1

    def failed(self, task: Task, outcome: Outcome) -> None:
        """Note that a task failed. Whoever does not raise must take it back."""
        if self._failed is None:
            outcome.raise_error()
        else:
            self._failed(task, outcome)

    def tell_of_others(self, context: Context) -> None:
        """Tell of stages that were computed on another device, or with another number of threads, than this run's."""
        if self._others:
            now = computed_with(context)
            parts = [f"{counted(count, 'stage')} {how}" for how, count in self._others.items()]
            context.progress.start("reused", 1)
            context.progress.finish(
                f"{', '.join(parts)}; here it is {now['device']} with {now['threads']}: computed again, they would "
                "differ in their last digits"
            )
