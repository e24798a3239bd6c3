"""What executors have in common that hand stages to a scheduler of jobs, and ask it what has become of them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from persistill.pipeline.executors.followed_log import FollowedLog
from persistill.pipeline.executors.job import Outcome
from persistill.pipeline.executors.local import tell_of_waiting
from persistill.pipeline.executors.walk import Task, Walk
from persistill.utils.progress import Progress, beside
from persistill.utils.stop_signals import stop_if_asked

ATTEMPTS = 3
"""How often a stage is begun whose worker is lost."""
SECONDS = 0.2
"""Between two looks at what is left to do."""
_HELD_SECONDS = 1.0
"""Until a stage at which another run works is tried again."""


class RemoteTasks(ABC):
    """Walks a graph of stages by handing them to a scheduler; what it is, subclasses say."""

    def __init__(self) -> None:
        self._running: dict[Any, tuple[Task, FollowedLog]] = {}
        self._lanes: list[Progress] = []

    @property
    @abstractmethod
    def workers(self) -> int:
        """Stages that are worked at at the same time at most."""

    @abstractmethod
    def _begin(self, task: Task) -> Any:
        """Have a stage worked at: what it is asked about by."""

    @abstractmethod
    def _ended(self, handles: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Which of these have come to an end, waited for so long."""

    @abstractmethod
    def _outcome(self, handle: Any, task: Task) -> Outcome:
        """What became of one that has come to an end; "stopped" if it is to be begun again.

        Raises:
            UserError: if it was lost too often.
        """

    @abstractmethod
    def _cancel(self, handle: Any, *, at_once: bool = False) -> None:
        """Have one stopped, with a checkpoint; without one where it is to be at once."""

    @property
    def at_work(self) -> dict[str, Any]:
        """Name of a run folder -> what it is asked about by."""
        return {task.name: handle for handle, (task, _) in self._running.items()}

    def run(self, walk: Walk, watch: Callable[[], None] = lambda: None) -> None:
        """As ``Executor.run`` says.

        Raises:
            UserError: also if what works at a stage is lost again and again.
        """
        held: dict[str, float] = {}
        told, asked = False, set[Any]()
        try:
            while walk or self._running:
                stop_if_asked()
                watch()
                for handle, (task, log) in self._running.items():
                    log.look()
                    if task.name not in walk and handle not in asked:
                        asked.add(handle)
                        self._cancel(handle)
                self._hand_out(walk, held)
                if not told and held and not self._running:
                    ready = walk.ready()
                    tell_of_waiting(ready, ready[0].context)
                    told = True
                self._collect(walk, held)
        except BaseException:
            self._stop_all()
            raise

    def _hand_out(self, walk: Walk, held: dict[str, float]) -> None:
        at_work = {task.name: task for task, _ in self._running.values()}
        walk.pass_over_finished(at_work)
        now = time.monotonic()
        leave = {name for name, until in held.items() if until > now}
        while task := walk.next_task(at_work, self.workers, leave):
            at_work[task.name] = task
            held.pop(task.name, None)
            handle = self._begin(task)
            lane = self._lanes.pop() if self._lanes else beside(task.context.progress)
            self._running[handle] = task, FollowedLog(task, lane)

    def _collect(self, walk: Walk, held: dict[str, float]) -> None:
        if not self._running:
            time.sleep(SECONDS)
            return
        for handle in self._ended(list(self._running), SECONDS):
            task, log = self._running.pop(handle)
            outcome = self._outcome(handle, task)
            log.progress.finish({"done": "", "held": "another run works at it"}.get(outcome.status, outcome.status))
            self._lanes.append(log.progress)
            if outcome.status == "held":
                held[task.name] = time.monotonic() + _HELD_SECONDS
            elif outcome.status == "failed" and task.name in walk:
                walk.failed(task, outcome)
            elif outcome.status == "done" and task.name in walk:
                walk.finished(task, task.stage.open(task.context))

    def _stop_all(self) -> None:
        """Have all that is worked at stopped, with checkpoints; ended at once by another signal."""
        running = list(self._running)
        self._running.clear()
        try:
            for handle in running:
                self._cancel(handle)
            left = set(running)
            while left:
                left -= set(self._ended(list(left), SECONDS))
        except BaseException:
            for handle in running:
                self._cancel(handle, at_once=True)
            raise
