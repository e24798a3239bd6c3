"""The checkpoint of a training on its way, handed on as one object, so that it is there whole or not at all."""

import contextlib
import io
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

from persistill.errors import UserError
from persistill.run_folder import CHECKPOINT
from persistill.storage.object_store import ObjectStore

UNFINISHED = "unfinished.zip"
SECONDS = 60.0
"""Between two times that a checkpoint is handed on."""
_LOG = "log.jsonl"
_FILES = ("run.json", CHECKPOINT, _LOG)
"""In the order in which they are packed: a log may be longer than when the checkpoint was written, and not shorter."""


@contextlib.contextmanager
def handed_on(store: ObjectStore, folder: Path) -> Iterator[None]:
    """Hand on the checkpoints that are written in a block, and the last one where it is interrupted.

    A checkpoint that cannot be handed on stops nothing: the next one may come through.
    """
    ended, known = threading.Event(), [_changed(folder)]
    thread = threading.Thread(target=_watch, args=(store, folder, ended, known), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        thread.join()
        _hand_on(store, folder, known)
        raise
    finally:
        ended.set()
        thread.join()


def take_up(store: ObjectStore, folder: Path) -> None:
    """Bring the checkpoint that was handed on last, if it is further than the one that lies in a run folder."""
    name = f"{folder.name}/{UNFINISHED}"
    if UNFINISHED not in store.sizes(folder.name):
        return
    with tempfile.TemporaryDirectory(prefix=".arriving-", dir=folder.parent) as place:
        packed = Path(place) / UNFINISHED
        store.download(name, packed)
        try:
            with zipfile.ZipFile(packed) as archive:
                if sorted(archive.namelist()) != sorted(_FILES):
                    return
                own = folder / _LOG
                behind = own.stat().st_size if own.is_file() and (folder / CHECKPOINT).is_file() else -1
                if archive.getinfo(_LOG).file_size <= behind:
                    return
                for file in _FILES:
                    archive.extract(file, place)
        except zipfile.BadZipFile:
            return
        # A folder with a part of these begins anew, or goes on from a checkpoint whose log is not shorter.
        folder.mkdir(exist_ok=True)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        for file in ("run.json", _LOG, CHECKPOINT):
            (Path(place) / file).replace(folder / file)


def _watch(store: ObjectStore, folder: Path, ended: threading.Event, known: list[int]) -> None:
    while not ended.wait(SECONDS):
        _hand_on(store, folder, known)


def _hand_on(store: ObjectStore, folder: Path, known: list[int]) -> None:
    now = _changed(folder)
    if now in (0, known[0]):
        return
    with contextlib.suppress(UserError, OSError), tempfile.TemporaryDirectory() as place:
        packed = Path(place) / UNFINISHED
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file in _FILES:
                # Opened once: a file that is replaced meanwhile is packed as it was.
                with (folder / file).open("rb") as source, archive.open(file, "w", force_zip64=True) as target:
                    shutil.copyfileobj(source, target, io.DEFAULT_BUFFER_SIZE * 128)
        store.upload(packed, f"{folder.name}/{UNFINISHED}")
        known[0] = now


def _changed(folder: Path) -> int:
    """When the checkpoint was written, in nanoseconds; 0 if there is none."""
    try:
        return (folder / CHECKPOINT).stat().st_mtime_ns
    except OSError:
        return 0
