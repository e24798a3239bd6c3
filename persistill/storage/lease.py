"""Leases: who works at a stage, among machines that share nothing but a URL.

A lease is a small object that its holder writes again and again. One that stays as it is for ``STALE`` seconds, by the
clock of whoever looks at it, belongs to a machine that is lost, and is taken over. Unlike a lock of an operating system
it cannot keep two machines apart under all circumstances: a machine that stood still for longer than that goes on
beside the one that took over. Then both do the same work, and what is finished first counts.
"""

import contextlib
import json
import platform
import threading
import time
import uuid
from collections.abc import Iterator

from persistill.errors import UserError
from persistill.storage.object_store import ObjectStore
from persistill.utils.file_lock import LockHeldError

FOLDER = ".leases"
BEAT = 20.0
"""Seconds between two times that a lease is written."""
STALE = 90.0
"""After so many seconds without a change a lease counts no more."""
_LOOK = 3.0
"""Seconds between two looks at a lease of another machine."""


class Leases:
    """Leases below a URL.

    Args:
        store: the URL.
        cache: a name of the folder in which stages are worked at on this machine: whoever holds the lock of one of its
            run folders knows that a lease that names the same folder is left over.
    """

    def __init__(self, store: ObjectStore, cache: str) -> None:
        self._store, self._cache = store, cache
        self._seen: dict[str, tuple[bytes, float, float]] = {}

    @contextlib.contextmanager
    def held(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a lease for the length of a block.

        Args:
            name: of a run folder, whose lock the caller holds.
            wait: for whoever holds it.

        Raises:
            LockHeldError: if another machine holds it, and ``wait`` is false.
        """
        file = f"{FOLDER}/{name}.json"
        about = {"owner": uuid.uuid4().hex, "machine": platform.node(), "cache": self._cache}
        while not self._taken(file, _encoded(about, 0)):
            if not wait:
                raise LockHeldError(f"{self._store.url}/{file}")
            time.sleep(_LOOK)
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(file, about, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with contextlib.suppress(UserError):  # what cannot be removed is taken over in time
                if self._owner(file) == about["owner"]:
                    self._store.remove(file)

    def _taken(self, file: str, content: bytes) -> bool:
        """Write a lease, if nobody holds one."""
        now = time.monotonic()
        before, since, looked = self._seen.get(file, (b"", now, 0.0))
        if before and now - looked < _LOOK:
            return False
        found = self._store.read(file)  # before it is written: not every store knows how to write new files only
        if found is not None:
            since = since if found == before else now
            if _field(found, "cache") != self._cache and now - since < STALE:
                self._seen[file] = found, since, now
                return False
            if self._store.read(file) == found:
                self._store.remove(file)
        self._seen.pop(file, None)
        return self._store.write(file, content, new=True) and self._store.read(file) == content

    def _beat(self, file: str, about: dict[str, str], ended: threading.Event) -> None:
        count = 0
        while not ended.wait(BEAT):
            count += 1
            with contextlib.suppress(UserError):  # the next one may come through
                if self._owner(file) not in (about["owner"], ""):
                    return
                self._store.write(file, _encoded(about, count))

    def _owner(self, file: str) -> str:
        content = self._store.read(file)
        return "" if content is None else _field(content, "owner")


def _encoded(about: dict[str, str], count: int) -> bytes:
    return json.dumps({**about, "beat": count}).encode()


def _field(content: bytes, name: str) -> str:
    """A field of a lease; "" where it cannot be read."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(content).get(name, ""))
    return ""
