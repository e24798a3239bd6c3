"""Tasks that do not depend on each other, done in this process, in several, or by Ray."""

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Function = Callable[[Task, Callable[[], bool]], Result]
"""Does a task; it asks the function that it is given whether it shall stop."""

ATTEMPTS = 3
"""How often a task is begun whose process is lost."""


class TaskPool(Protocol):
    """A way to have tasks done.

    Attributes:
        threads: that a task computes with.
    """

    threads: int

    def run(
        self, function: Function[Task, Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """Have all tasks done.

        Args:
            function: lies at the top of a module, where other processes find it.
            tasks: taken one after another, as there is somebody to do them.

        Yields:
            Each task with its result, as they are done, in any order.

        Raises:
            Exception: what a task raised; no further task is begun then.
            UserError: if processes are lost again and again.
        """


class LocalPool:
    """Does one task after another in this process.

    Args:
        threads: that a task computes with.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self, function: Function[Task, Result], tasks: Iterable[Task]
    ) -> Generator[tuple[Task, Result], None, None]:
        """As ``TaskPool`` says."""
        for task in tasks:
            yield task, function(task, lambda: False)
