"""What goes around the compilation of kernels: saying that it takes a while, and never running a stale kernel."""

import contextlib
import logging
import re
from pathlib import Path
from typing import Any

from numba.core import event

_IMPORT = re.compile(r"^from persistill\.topology\._numba(?:\.(\w+))? import (.+)$", re.MULTILINE)


class Announcement(event.Listener):  # type: ignore[misc]
    """Tells once in a process that a kernel of this package is being compiled, which seems to hang otherwise."""

    def __init__(self) -> None:
        self.told = False

    def on_start(self, event: Any) -> None:
        """Tell, the first time."""
        if not self.told and event.data["dispatcher"].py_func.__module__.startswith("persistill.topology"):
            self.told = True
            logging.getLogger("persistill.topology").warning(
                "compiling kernels for this processor: about ten seconds at most, once; the result is kept on disk."
            )

    def on_end(self, event: Any) -> None:
        """Nothing more to tell."""


def announce_compilation() -> None:
    """Let the first compilation of a kernel be announced through ``logging``, as a warning."""
    event.register("numba:compile", Announcement())


def drop_stale_kernels(folder: Path) -> None:
    """Remove the cached kernels of those files in ``folder`` that import files which are newer than the kernels.

    numba itself looks only at the file that holds a kernel. After a change of what is compiled into it from another
    file, it would run the old code, on data that may be laid out anew.
    """
    sources = {path.stem: path for path in folder.glob("*.py")}
    changed: dict[str, float] = {}

    def newest(name: str) -> float:
        if name not in changed:
            changed[name] = sources[name].stat().st_mtime
            for module, names in _IMPORT.findall(sources[name].read_text(encoding="utf-8")):
                for used in [module] if module else re.findall(r"\w+", names):
                    if used in sources:
                        changed[name] = max(changed[name], newest(used))
        return changed[name]

    for index in (folder / "__pycache__").glob("*.nbi"):
        name = index.name.split(".")[0]
        # Several processes may do this at once, and where nothing may be written, nothing was compiled.
        with contextlib.suppress(OSError):
            if name in sources and index.stat().st_mtime < newest(name):
                index.unlink()
