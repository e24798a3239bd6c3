"""Locks that one process holds at a time, and that end with it, however it ends."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_PATIENCE = 0.2
"""Seconds: whoever only asks whether a lock is held holds it for a moment, which must not count."""


class LockHeldError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock for the length of a block.

    The operating system keeps the lock (``flock``) and ends it with the process, so that none is left behind by a
    crash. The file stays; it is empty, and means nothing by itself.

    Args:
        path: of the lock's file; its folder is made if need be.
        wait: for whoever holds it.

    Raises:
        LockHeldError: if another process, or another thread, holds it, and ``wait`` is false.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - slow to import, and most commands lock nothing

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=-1 if wait else _PATIENCE, poll_interval=0.02)
    try:
        lock.acquire()
    except Timeout:
        raise LockHeldError(path) from None
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Whether somebody holds a lock; no where its file cannot be opened for writing, since nobody here can hold it."""
    from filelock import FileLock, Timeout  # noqa: PLC0415

    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False
