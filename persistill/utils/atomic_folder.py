"""Folders that are there whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from persistill.utils import file_lock

_LOCK = ".lock"


def unfinished(path: Path) -> Path:
    """Where ``path`` lies until it is whole."""
    return path.with_name(f".{path.name}.unfinished")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder; it becomes ``path`` when the block ends, and is removed when the block fails.

    Until then it lies hidden beside ``path``, always under the same name: what a killed process left there is removed
    by the next one.

    Args:
        path: of the folder, which must not exist; the one that it lies in is made if need be.

    Raises:
        LockHeldError: if another process is writing it.
        OSError: at the end, if there is such a folder by then, and it is not empty.
    """
    temporary = unfinished(path)
    with file_lock.hold(temporary / _LOCK):
        try:
            for left in temporary.iterdir():
                if left.is_dir():
                    shutil.rmtree(left)
                elif left.name != _LOCK:
                    left.unlink()
            yield temporary
            (temporary / _LOCK).unlink()
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
