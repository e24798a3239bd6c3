"""What `persistill doctor` looks at. All but the devices need no torch, and so are quick."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Literal, NamedTuple

from packaging.requirements import Requirement

from persistill.utils.units import file_size

State = Literal["ok", "note", "bad"]
_LITTLE = 2**30
"""Bytes that should be free, where runs lie."""
_EXTRAS = ("onnx", "tensorboard", "executorch", "ray", "slurm", "sweep")


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        what: its name.
        state: "note" where something is missing that not everybody needs, "bad" where nothing works well without.
        words: what was found, and what to do about it.
    """

    what: str
    state: State
    words: str


def versions() -> Iterator[Finding]:
    """Python, and all packages that persistill needs, against the versions that it needs."""
    yield Finding("Python", "ok", f"{platform.python_version()} ({sys.executable}) on {platform.platform()}")
    yield Finding("persistill", "ok", f"{metadata.version('persistill')} ({Path(__file__).resolve().parents[1]})")
    needed = [Requirement(text) for text in metadata.requires("persistill") or ()]
    found, wrong = [], []
    for requirement in needed:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = requirement.name
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} is {version}, and {requirement.specifier} is needed")
        found.append(f"{name} {version}")
    yield Finding("packages", "ok", ", ".join(found))
    if wrong:
        yield Finding("packages", "bad", f"{'; '.join(wrong)}. Install persistill again.")


def extras() -> Iterator[Finding]:
    """Packages of the extras, which not everybody needs."""
    for extra in _EXTRAS:
        of_extra = [
            requirement.name
            for text in metadata.requires("persistill") or ()
            if (requirement := Requirement(text)).marker is not None and requirement.marker.evaluate({"extra": extra})
        ]
        missing = [name for name in of_extra if util.find_spec(name.replace("-", "_")) is None]
        if missing:
            yield Finding(extra, "note", f'without {", ".join(missing)}: pip install "persistill[{extra}]"')
        else:
            yield Finding(extra, "ok", "installed")


def places(out: Path) -> Iterator[Finding]:
    """Where runs are written, and where compiled kernels are kept."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        yield Finding("runs", "bad", f"nothing can be written below {there}: name another folder with --out")
    elif free < _LITTLE:
        yield Finding("runs", "bad", f"{file_size(free)} are free below {there}: make room, or name another folder")
    else:
        yield Finding("runs", "ok", f"{file_size(free)} are free below {there}")
    temporary = Path(tempfile.gettempdir())
    yield Finding("temporary files", "ok", f"{file_size(shutil.disk_usage(temporary).free)} are free in {temporary}")


def threads() -> Iterator[Finding]:
    """Cores, and how many threads sums are added up with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    stated = os.environ.get("OMP_NUM_THREADS")
    unset = "OMP_NUM_THREADS is not set: the same run on other cores may round otherwise"
    said = f"OMP_NUM_THREADS={stated}" if stated else unset
    yield Finding("cores", "ok", f"{cores} may be used; {said}")


def devices() -> Iterator[Finding]:
    """What trainings can run on."""
    import torch  # noqa: PLC0415 - slow to import

    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            yield Finding(f"cuda:{number}", "ok", f"{about.name}, {file_size(about.total_memory)}")
    elif torch.backends.mps.is_available():
        yield Finding("mps", "ok", "Apple's GPU")
    else:
        yield Finding("GPU", "note", "none that torch can use: trainings run on the CPU")
