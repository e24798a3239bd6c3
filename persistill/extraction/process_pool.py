"""Processes on this machine that do tasks, and are replaced where they are lost."""

import multiprocessing
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_end
from multiprocessing.synchronize import Event
from typing import Any, Self

from persistill.errors import UserError
from persistill.extraction.task_pool import ATTEMPTS, Function, Result, Task
from persistill.utils.stop_signals import stop_if_asked

_SECONDS = 0.2
"""Between two looks at whether a signal came."""
_AHEAD = 2
"""Tasks a worker that are handed out."""

_stopped: "Event | None" = None
"""In a worker: whether all shall stop."""


class ProcessPool:
    """Has tasks done by processes; a context manager, which ends them.

    Attributes:
        workers: how many.
        threads: that a task computes with.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers = workers
        self.threads = threads
        self._context = multiprocessing.get_context("spawn")  # a copy of this process would lack its threads
        self._stop = self._context.Event()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def run(
        self, function: Function[Task, Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """As ``TaskPool`` says."""
        source = iter(tasks)
        again: deque[tuple[int, Task]] = deque()
        begun: Counter[int] = Counter()
        running: dict[Future[Result], tuple[int, Task]] = {}
        numbered = enumerate(source)
        while True:
            try:
                while len(running) < _AHEAD * self.workers:
                    number, task = again.popleft() if again else next(numbered)
                    begun[number] += 1
                    running[self._submit(function, task)] = number, task
            except StopIteration:
                if not running:
                    return
            for future in self._done(running):
                number, task = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    if begun[number] >= ATTEMPTS:
                        raise UserError(
                            f"processes were lost {ATTEMPTS} times ({error}); a system that runs out of memory ends "
                            "processes by SIGKILL. What was finished is whole. Fewer --workers need less memory, and "
                            "so do fewer --threads; then run the same command again."
                        ) from error
                    again.append((number, task))
                    self._executor = None
                else:
                    yield task, result

    def _submit(self, function: Function[Task, Result], task: Task) -> "Future[Result]":
        while True:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(
                    self.workers, self._context, initializer=_begin, initargs=(self._stop,)
                )
            try:
                return self._executor.submit(_do, function, task)
            except BrokenProcessPool:  # lost since
                self._executor = None

    @staticmethod
    def _done(running: dict["Future[Result]", tuple[int, Task]]) -> "set[Future[Result]]":
        while True:
            stop_if_asked()
            done, _ = wait(running, _SECONDS, FIRST_COMPLETED)
            if done:
                return done


def _begin(stop: Event) -> None:
    """Prepare a worker: ctrl-C in a terminal is for the process that gives the work, without which this one ends."""
    global _stopped
    _stopped = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
    os._exit(1)


def _do(function: Function[Any, Any], task: Any) -> Any:
    assert _stopped is not None
    return function(task, _stopped.is_set)
