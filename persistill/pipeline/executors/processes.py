"""Processes on this machine, each of which works at one stage after another."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Self

from persistill.errors import UserError
from persistill.pipeline.context import Context
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.executors.local import tell_of_waiting
from persistill.pipeline.executors.walk import Task, Walk
from persistill.utils.progress import Progress, beside
from persistill.utils.stop_signals import stop_if_asked

ATTEMPTS = 3
"""How often a stage is begun whose process is lost."""
_SECONDS = 0.2
"""Between two looks at what is left to do."""
_HELD_SECONDS = 1.0
"""Until a stage at which another run works is tried again."""


class _Worker:
    """A process, and what it works at.

    Args:
        device: on which it works.
        progress: told of everything that takes time.

    Attributes:
        device: as above.
        connection: to it.
        task: what it works at.
        asked: whether it was asked to stop that.
    """

    def __init__(self, device: str, progress: Progress) -> None:
        self.device, self._progress = device, progress
        self.connection, theirs = Pipe()
        code = f"from persistill.pipeline.executors.worker import main; main({theirs.fileno()}, {device!r})"
        # A session of its own: ctrl-C in a terminal goes to this process alone, which asks its workers to stop once.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and code of ours
            [sys.executable, "-P", "-c", code],  # no file of the folder that it begins in takes the place of a module
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        theirs.close()
        self.task: Task | None = None
        self.asked = False
        self._ready = self._shows = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def give(self, task: Task, job: bytes) -> None:
        """Have it work at a stage. Whether it is gone shows when it is listened to."""
        self.task, self.asked = task, False
        with contextlib.suppress(OSError):
            self.connection.send((job, task.name))

    def listen(self) -> Outcome | None:
        """Hear what it sent: the outcome of its stage, if that has come.

        Raises:
            EOFError: if it is gone.
        """
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Outcome):
                    return message
                self._ready = True
                if message != "ready":
                    name, *arguments = message
                    getattr(self._progress, name)(*arguments)
                    self._shows = name != "finish"
        except OSError as error:
            raise EOFError from error
        return None

    def ask_to_stop(self) -> None:
        """Have the stage stopped, with a checkpoint."""
        if self.asked:
            return
        self.asked = True
        if self._ready:
            with contextlib.suppress(OSError):
                self.connection.send(None)
        else:  # it imports libraries yet
            self._process.terminate()

    def tell(self, note: str) -> None:
        """End what is shown of the stage."""
        if self._shows:
            self._progress.finish(note)
        self._shows = False

    def end(self) -> int:
        """Wait for the end of a process that is gone: its exit code."""
        self.connection.close()
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self.end()


class Processes:
    """Works at stages in processes on this machine; a context manager, which ends them.

    A process is started when there is work for it, once. One that is lost loses no finished stage; what it worked at
    is begun again by another, which goes on from its checkpoint.

    Args:
        workers: processes at most.
        devices: of the processes, in turn.

    Attributes:
        workers: as above.

    Raises:
        UserError: on Windows, where a process cannot be handed a connection in this way.
    """

    def __init__(self, workers: int, devices: Sequence[str] = ("auto",)) -> None:
        if os.name == "nt":
            raise UserError("--workers needs Linux or macOS; without it, stages run in this process.")
        self.workers, self._devices = workers, tuple(devices)
        self._workers: list[_Worker] = []
        self._jobs: dict[int, tuple[Context, bytes]] = {}
        self._lost: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def at_work(self) -> dict[str, int]:
        """Name of a run folder -> number of the process that works at it."""
        return {worker.task.name: worker.pid for worker in self._workers if worker.task}

    def run(self, walk: Walk, watch: Callable[[], None] = lambda: None) -> None:
        """As ``Executor.run`` says.

        Raises:
            UserError: also if the processes that work at a stage are lost again and again.
        """
        held: dict[str, float] = {}
        told = False
        try:
            while walk or self.at_work:
                stop_if_asked()
                watch()
                for worker in self._workers:
                    if worker.task and worker.task.name not in walk:
                        worker.ask_to_stop()
                self._hand_out(walk, held)
                if not told and held and not self.at_work:
                    ready = walk.ready()
                    tell_of_waiting(ready, ready[0].context)
                    told = True
                self._listen(walk, held)
        except BaseException:
            self._stop_all()
            raise

    def _hand_out(self, walk: Walk, held: dict[str, float]) -> None:
        """Give work to whoever has none."""
        walk.pass_over_finished(self.at_work)
        now = time.monotonic()
        leave = {name for name, until in held.items() if until > now}
        while task := walk.next_task(self._tasks(), self.workers, leave):
            self._idle(task.context).give(task, self._job(task.context))
            held.pop(task.name, None)

    def _tasks(self) -> dict[str, Task]:
        return {worker.task.name: worker.task for worker in self._workers if worker.task}

    def _idle(self, context: Context) -> _Worker:
        for worker in self._workers:
            if worker.task is None:
                return worker
        used = [worker.device for worker in self._workers]
        device = min(self._devices, key=used.count)
        self._workers.append(_Worker(device, beside(context.progress)))
        return self._workers[-1]

    def _job(self, context: Context) -> bytes:
        if id(context) not in self._jobs:
            self._jobs[id(context)] = context, Job.of(context).packed()
        return self._jobs[id(context)][1]

    def _listen(self, walk: Walk, held: dict[str, float]) -> None:
        wait([worker.connection for worker in self._workers], _SECONDS)
        for worker in list(self._workers):
            try:
                outcome = worker.listen()
            except EOFError:
                self._note_lost(worker)
                continue
            task = worker.task
            if outcome is None or task is None:
                continue
            worker.task = None
            if outcome.status == "held":
                held[task.name] = time.monotonic() + _HELD_SECONDS
            elif outcome.status == "stopped":
                worker.tell("stopped")
                if not worker.asked:
                    self._count_lost(task, "was told to stop")
            elif outcome.status == "failed" and task.name in walk:
                walk.failed(task, outcome)
            elif outcome.status == "done" and task.name in walk:
                walk.finished(task, task.stage.open(task.context))

    def _note_lost(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        code = worker.end()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code}"
        worker.tell(f"its process {how}")
        if worker.task and not worker.asked:
            self._count_lost(worker.task, how)

    def _count_lost(self, task: Task, how: str) -> None:
        self._lost[task.name] = count = self._lost.get(task.name, 0) + 1
        if count >= ATTEMPTS:
            raise UserError(
                f"{task.name}: the process that worked at it {how}, {count} times; a system that runs out of memory "
                "ends processes by SIGKILL. What was finished is whole. Fewer --workers need less memory, and so does "
                "a smaller train.batch_size; then run the same command again."
            )

    def _stop_all(self) -> None:
        """Have all that is worked at stopped, with checkpoints; ended at once by another signal."""
        try:
            while busy := [worker for worker in self._workers if worker.task]:
                for worker in busy:
                    worker.ask_to_stop()
                wait([worker.connection for worker in busy])
                for worker in busy:
                    try:
                        if worker.listen() is not None:
                            worker.task = None
                    except EOFError:
                        self._workers.remove(worker)
                        worker.end()
        except BaseException:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()
            raise

    def _close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()
