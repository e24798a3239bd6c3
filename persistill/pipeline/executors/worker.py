"""The other process: it is given jobs and names of run folders, and works at one stage after another."""

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection

import cloudpickle
import torch

from persistill.errors import UserError
from persistill.pipeline.executors.job import Job, Outcome
from persistill.pipeline.runner import Pipeline
from persistill.utils.file_lock import LockHeldError
from persistill.utils.progress import Progress
from persistill.utils.stop_signals import stop_at_once, stop_was_asked
from persistill.utils.thread_count import computing_with

_SECONDS = 0.1
"""Between two messages of how far a stage is."""


class Forwarded:
    """A progress that is sent to whoever gave the work, the calls of a tenth of a second as one.

    Args:
        connection: to it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._units, self._note, self._values, self._sent = 0, "", dict[str, float](), 0.0

    def start(self, stage: str, total: int, done: int = 0) -> None:
        """Begin a stage."""
        self._send("start", stage, total, done)

    def advance(self, units: int, note: str = "", values: Mapping[str, float] | None = None) -> None:
        """Send it, if it is time to."""
        self._units += units
        self._note, self._values = note or self._note, dict(values or {}) or self._values
        if time.monotonic() - self._sent > _SECONDS:
            self._flush()

    def finish(self, note: str = "") -> None:
        """End the stage."""
        self._flush()
        self._send("finish", note)

    def _flush(self) -> None:
        self._send("advance", self._units, self._note, self._values)
        self._units, self._note, self._values, self._sent = 0, "", {}, time.monotonic()

    def _send(self, *call: object) -> None:
        try:
            self._connection.send(call)
        except OSError:  # nobody listens any more: the thread that receives has this process stopped
            return


class Workplace:
    """Works at stages of one recipe after another. What it read for the last one it keeps.

    Args:
        device: as for ``Pipeline``.
        progress: told of everything that takes time.
    """

    def __init__(self, device: str, progress: Progress) -> None:
        self._device, self._progress = device, progress
        self._packed: bytes | None = None
        self._job: Job | None = None
        self._pipeline: Pipeline | None = None

    def work(self, packed: bytes, name: str) -> Outcome:
        """Work at a stage.

        Args:
            packed: from ``Job.packed``.
            name: of the stage's run folder.
        """
        try:
            if self._job is None or packed != self._packed:
                self._job, self._packed = cloudpickle.loads(packed), None
            job = self._job
            with contextlib.suppress(FileNotFoundError):  # another machine, which needs it for relative paths alone
                os.chdir(job.folder)
            torch.set_num_threads(job.all_threads)
            with computing_with(job.threads):
                if self._pipeline is None or self._packed is None:
                    self._pipeline = self._opened(job)
                    self._packed = packed
                self._pipeline.stage(name).run(self._pipeline.context, wait=False)
        except LockHeldError:
            return Outcome("held")
        except KeyboardInterrupt:
            return Outcome("stopped")
        except Exception as error:  # noqa: BLE001 - it is raised where the work was given
            return Outcome("stopped") if stop_was_asked() else Outcome.of_error(error)
        return Outcome("done")

    def _opened(self, job: Job) -> Pipeline:
        # Recipes of a sweep share their images, unless it is these that it varies.
        same = self._pipeline is not None and self._pipeline.recipe.data == job.recipe.data
        before = self._pipeline.splits if self._pipeline is not None and same else None
        pipeline = Pipeline(
            job.recipe,
            job.out,
            device=self._device,
            progress=self._progress,
            command=job.command,
            splits=before if before is not None and before.fingerprint == job.fingerprint else None,
            auto_batch=job.auto_batch,
        )
        found = pipeline.splits.fingerprint
        if found != job.fingerprint:
            raise UserError(
                f"another process reads other images (fingerprint {found}) for this recipe than it was given "
                f"({job.fingerprint}): its data has changed meanwhile, or is not what the recipe names. Run it again, "
                "or without --workers and --executor."
            )
        pipeline.context.data.keep_resized(pipeline.out)
        return pipeline


def main(descriptor: int, device: str) -> None:
    """Receive (job, name of a run folder) until there are no more, and send back progress and outcomes.

    A stage is stopped with a checkpoint when None comes in its stead, and when whoever gives the work is gone.

    Args:
        descriptor: of the connection.
        device: on which this process works.
    """
    connection = Connection(descriptor)
    connection.send("ready")
    inbox: queue.SimpleQueue[tuple[bytes, str] | None] = queue.SimpleQueue()
    busy, place = threading.Event(), Workplace(device, Forwarded(connection))
    threading.Thread(target=_receive, args=(connection, inbox, busy), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt, OSError):
        while (message := inbox.get()) is not None:
            with stop_at_once():
                outcome = place.work(*message)
                busy.clear()
            connection.send_bytes(cloudpickle.dumps(outcome))  # an error's class may be of the recipe's file


def _receive(
    connection: Connection, inbox: "queue.SimpleQueue[tuple[bytes, str] | None]", busy: threading.Event
) -> None:
    """Put messages into the inbox; have the stage that is worked at stopped where there are no more."""
    gone = False
    while not gone:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            message, gone = None, True
        if message is not None:
            busy.set()  # and not when it is begun: what comes between would be lost
        if message is not None or gone:
            inbox.put(message)
        if message is None and busy.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
