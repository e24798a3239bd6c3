"""Run folders at a URL: worked at in a folder of this machine, brought and handed on stage by stage."""

import contextlib
import shutil
import tempfile
import time
import uuid
from functools import cached_property
from pathlib import Path

from persistill import run_folder
from persistill.errors import UserError
from persistill.run_folder import CHECKPOINT, DIVERGED, DamagedRunError, RunFolder
from persistill.storage.lease import Leases
from persistill.storage.object_store import ObjectStore
from persistill.storage.runs import Runs
from persistill.storage.unfinished import UNFINISHED, handed_on, take_up
from persistill.utils.atomic_io import atomic
from persistill.utils.file_lock import LockHeldError, hold

MARK = ".persistill"
"""A file at the URL, written before any work: whoever may not write there hears of it in time."""
_LOOK = 3.0
"""Seconds between two looks at a stage that is not finished."""
_DONE, _FILES = "done.json", "files.json"
_STAYS = (CHECKPOINT, DIVERGED, "tensorboard", "exported", UNFINISHED)
"""What lies in a run folder and is not handed on with the finished stage."""
_TRAININGS = ("teacher-", "student-", "quantized-")
"""Of which kinds a checkpoint is all that is needed to go on."""


class RemoteRuns(Runs):
    """Run folders below a URL, and a folder of this machine in which stages are worked at: the cache.

    A finished stage is handed on whole: ``done.json`` is written last, and only where all other files have arrived. The
    URL is what counts: a stage that lies in the cache and differs from the one there is brought again.

    Args:
        url: of a kind that fsspec knows.
        cache: the folder.

    Attributes:
        path: the cache.
        url: as above.
    """

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache)
        self.url = url
        self._store = ObjectStore(url)
        self._agreed: set[str] = set()
        self._looked: dict[str, float] = {}

    @property
    def place(self) -> str:
        """The URL."""
        return self.url

    def require(self) -> None:
        """See that the URL can be written to, and that there is a cache."""
        super().require()
        self.path.mkdir(parents=True, exist_ok=True)
        self._store.write(MARK, b"Run folders of persistill.\n")

    def names(self) -> list[str]:
        """Names of all folders there, sorted."""
        return [name for name in self._store.folders() if not name.startswith(".")]

    def fetch(self, name: str, *, locked: bool = False, now: bool = False) -> bool:
        """As ``Runs.fetch`` says: the finished stage is brought if the cache lacks it, or holds another."""
        done = (self.path / name / _DONE).is_file()
        if name in self._agreed and done:
            return True
        if not now and time.monotonic() - self._looked.get(name, -_LOOK) < _LOOK:
            return done
        self._looked[name] = time.monotonic()
        there = self._store.sizes(name)
        if _DONE not in there or _FILES not in there:
            return done
        own = self.path / name / _FILES
        if done and own.is_file() and own.read_bytes() == self._store.read(f"{name}/{_FILES}"):
            self._agreed.add(name)
            return True
        try:
            with contextlib.nullcontext() if locked else run_folder.locked(self.path / name, wait=False):
                return self._bring(name) or done
        except LockHeldError:
            return done

    def published(self, name: str) -> bool:
        """Whether the finished stage in the cache is known to be the one at the URL."""
        return name in self._agreed

    def publish(self, name: str) -> None:
        """Hand on a finished stage. Where another machine was faster, its result counts, and is brought."""
        folder = self.path / name
        if name in self._agreed:
            return
        if self.fetch(name, locked=True, now=True) and name in self._agreed:
            return
        self.retract(name)  # what lies there is damaged, if anything does
        files = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file() and _handed_on(path.relative_to(folder))
        }
        for file in sorted(files, key=lambda file: file == _FILES):
            if file != _DONE:
                self._store.upload(folder / file, f"{name}/{file}")
        arrived = self._store.sizes(name)
        missing = [file for file, size in files.items() if file != _DONE and arrived.get(file) != size]
        if missing:
            raise UserError(
                f"{self.url}/{name}/{missing[0]} did not arrive whole. The stage is whole in {folder}; run the same "
                "command again, and it is handed on."
            )
        self._store.upload(folder / _DONE, f"{name}/{_DONE}")
        self._store.remove(f"{name}/{UNFINISHED}")
        self._agreed.add(name)

    def retract(self, name: str) -> None:
        """Have no machine believe a finished stage any more."""
        self._agreed.discard(name)
        self._store.remove(f"{name}/{_DONE}")

    def leased(self, name: str, *, wait: bool) -> contextlib.AbstractContextManager[None]:
        """As ``Runs.leased`` says, by a lease."""
        return self._leases.held(name, wait=wait)

    def take_up(self, name: str) -> None:
        """As ``Runs.take_up`` says; other stages than trainings begin anew on another machine."""
        if name.startswith(_TRAININGS):
            take_up(self._store, self.path / name)

    def handing_on(self, name: str) -> contextlib.AbstractContextManager[None]:
        """As ``Runs.handing_on`` says."""
        return handed_on(self._store, self.path / name) if name.startswith(_TRAININGS) else contextlib.nullcontext()

    def put(self, file: str) -> None:
        """Hand on one file."""
        if (self.path / file).is_file():
            self._store.upload(self.path / file, file)

    def get(self, file: str) -> None:
        """Bring one file, in place of the one in the cache."""
        content = self._store.read(file)
        if content is not None:
            (self.path / file).parent.mkdir(parents=True, exist_ok=True)
            with atomic(self.path / file) as temporary:
                temporary.write_bytes(content)

    def small_files(self, folder: Path) -> None:
        """Write what tells of all stages there and of their results, and no other files, into a folder that exists."""
        for name in self.names():
            (folder / name).mkdir()
            for file in ("run.json", _FILES, _DONE):
                content = self._store.read(f"{name}/{file}")
                if content is not None:
                    (folder / name / file).write_bytes(content)

    @cached_property
    def _leases(self) -> Leases:
        """Those of this cache, which has a name of its own."""
        with hold(self.path / ".locks" / "cache.lock", wait=True):
            path = self.path / ".cache"
            if not path.is_file():
                with atomic(path) as temporary:
                    temporary.write_text(uuid.uuid4().hex)
            return Leases(self._store, path.read_text())

    def download(self, name: str, folder: Path) -> None:
        """Bring all files of a run folder, whatever they hold, into a folder that exists.

        Raises:
            UserError: if a file's name leads elsewhere.
        """
        for file in self._store.sizes(name):
            target = folder / file
            if not target.resolve().is_relative_to(folder.resolve()):
                raise UserError(f"{self.url}/{name} holds a file {file!r}, which no stage writes. Remove it.")
            if _handed_on(Path(file)):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._store.download(f"{name}/{file}", target)

    def _bring(self, name: str) -> bool:
        target = self.path / name
        self.path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".arriving-", dir=self.path) as place:
            folder = Path(place) / name
            folder.mkdir()
            self.download(name, folder)
            try:
                RunFolder.open(folder).verify()
            except DamagedRunError:
                # As where two machines wrote it at the same time. Whoever works at it next leaves a whole one.
                return False
            if target.exists():
                shutil.rmtree(target)
            folder.rename(target)
        self._agreed.add(name)
        return True


def _handed_on(file: Path) -> bool:
    return file.parts[0] not in _STAYS and not any(part.startswith(".") for part in file.parts)
