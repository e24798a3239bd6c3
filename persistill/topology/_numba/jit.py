"""The decorator of all kernels: compiled at the first call, run without the interpreter's lock, kept on disk."""

import functools
import hashlib
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache

_IMPORT = re.compile(r"^from persistill\.topology\._numba(?:\.(\w+))? import (\([\w, \n]+\)|[\w, ]+)", re.MULTILINE)
_logger = logging.getLogger("persistill.topology")


def kernel(function: Callable[..., Any], **options: Any) -> Any:
    """Let numba compile a function when it is first called with a kind of number; a decorator.

    What was compiled is read from disk by later processes. No file is looked at before the first call. Where nothing
    can be written, every process compiles anew, and a warning says so once.

    Args:
        function: what to compile.
        **options: of ``numba.njit``, beside ``nogil``.
    """
    compiled: Any = njit(nogil=True, **options)(function)
    if compiled is not function:  # which it is under NUMBA_DISABLE_JIT
        compiled._cache = KernelCache(function)  # noqa: SLF001  (enable_caching() would look for folders at once)
    return compiled


class KernelCache(NullCache):  # type: ignore[misc]
    """numba's cache on disk of one kernel, with two differences.

    It also notices changes of the files that a kernel's file imports, whose code is compiled into the kernel, while
    numba looks at the kernel's own file alone. And a folder that cannot be written to is no error.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @functools.cached_property
    def _cache(self) -> Any:
        try:
            cache: Any = FunctionCache(self._function)
        except RuntimeError as error:  # no folder to write to
            _warn_once(str(error))
            return NullCache()
        source = Path(inspect.getfile(self._function))
        # Numba compares the stamp with that in the index on disk, and compiles anew and overwrites if they differ.
        cache._cache_file = IndexDataCacheFile(cache.cache_path, cache._impl.filename_base, source_stamp(source))  # noqa: SLF001
        return cache

    @property
    def cache_path(self) -> Any:
        """The folder with the compiled kernels, None if there is none."""
        return self._cache.cache_path

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for a signature, or None."""
        try:
            return self._cache.load_overload(sig, target_context)
        except OSError as error:
            _warn_once(str(error))
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature."""
        try:
            self._cache.save_overload(sig, data)
        except OSError as error:
            _warn_once(str(error))


@functools.cache
def source_stamp(source: Path) -> str:
    """A hash of a file with kernels and of all files beside it that it imports, whose code is compiled into its own."""
    files = {source}
    waiting = [source]
    while waiting:
        for module, names in _IMPORT.findall(waiting.pop().read_text(encoding="utf-8")):
            for name in [module] if module else re.findall(r"\w+", names):
                used = source.with_name(f"{name}.py")
                if used.is_file() and used not in files:
                    files.add(used)
                    waiting.append(used)
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sorted(files))).hexdigest()


def cache_folder() -> Path | None:
    """Where compiled kernels of this package are kept; None where no folder can be written to."""
    try:
        found: str = FunctionCache(_warn_once).cache_path
    except RuntimeError:
        return None
    return Path(found)


class Announcement(event.Listener):  # type: ignore[misc]
    """Says once in a process that a kernel of this package is being compiled, which seems to hang otherwise."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        """Say so, the first time."""
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("persistill.topology"):
            self.said = True
            _logger.warning(
                "compiling kernels for this processor, once: ten seconds or so where nothing else runs; kept on disk."
            )

    def on_end(self, event: Any) -> None:
        """Nothing more to say."""


_warned: list[str] = []


def _warn_once(reason: str) -> None:
    if not _warned:
        _warned.append(reason)
        _logger.warning(
            "compiled kernels cannot be kept on disk, so every process compiles them again (%s). "
            "Set NUMBA_CACHE_DIR to a folder that can be written to.",
            reason,
        )


event.register("numba:compile", Announcement())
