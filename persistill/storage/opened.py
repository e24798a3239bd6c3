"""Places of run folders, opened by what their user calls them."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from persistill import run_folder
from persistill.errors import UserError
from persistill.run_folder import RunFolder
from persistill.storage.remote_runs import RemoteRuns
from persistill.storage.runs import Runs
from persistill.storage.url import cache_of, check_out, checked_url, is_url


def open_runs(place: str | Path) -> Runs:
    """The run folders of a place.

    Args:
        place: a folder, or a URL. Its run folders are worked at in a folder of the user's cache, or of the one that
            ``PERSISTILL_CACHE`` names.

    Raises:
        UserError: if it can be no place of run folders.
    """
    if is_url(place):
        url = checked_url(str(place))
        return RemoteRuns(url, cache_of(url))
    return Runs(Path(check_out(place)))


def local_copy(place: str | Path) -> tuple[Path, Runs]:
    """One run folder, with those beside it that it is read with.

    Args:
        place: a path, or a URL: then it is brought to this machine.

    Returns:
        The folder on this machine, and the place that it lies in.

    Raises:
        UserError: if there is no finished stage at the URL.
    """
    if not is_url(place):
        return Path(place), Runs(Path(place).absolute().parent)
    root, _, name = checked_url(str(place)).rpartition("/")
    if not is_url(root):
        raise UserError(f"{place} is no run folder: name one below it (persistill ls --out {place}).")
    runs = RemoteRuns(root, cache_of(root))
    if not runs.fetch(name, now=True):
        raise UserError(
            f"{place} is no finished run folder. persistill ls --out {root} lists what lies there; a stage that was "
            "interrupted goes on where its recipe is run again."
        )
    for other in _beside(RunFolder.open(runs.path / name), runs):
        runs.fetch(other, now=True)
    return runs.path / name, runs


@contextlib.contextmanager
def small_files(place: str | Path) -> Iterator[Path]:
    """The folder of run folders; of those at a URL a copy of what tells of stages and their results alone.

    Args:
        place: a folder, or a URL.

    Raises:
        UserError: if the URL cannot be read.
    """
    if not is_url(place):
        yield Path(place)
        return
    with _of_url(str(place)) as (runs, folder):
        runs.small_files(folder)
        yield folder


@contextlib.contextmanager
def all_files(place: str | Path) -> Iterator[Path]:
    """The folder of run folders; of those at a URL a copy.

    Raises:
        UserError: if the URL cannot be read.
    """
    if not is_url(place):
        yield Path(place)
        return
    with _of_url(str(place)) as (runs, folder):
        for name in runs.names():
            (folder / name).mkdir()
            runs.download(name, folder / name)
        yield folder


@contextlib.contextmanager
def _of_url(url: str) -> Iterator[tuple[RemoteRuns, Path]]:
    url = checked_url(url)
    with tempfile.TemporaryDirectory(prefix="persistill-") as folder:
        yield RemoteRuns(url, cache_of(url)), Path(folder)


def _beside(folder: RunFolder, runs: RemoteRuns) -> list[str]:
    """Names of the folders that one is read with."""
    before = list(folder.built_on())
    if folder.kind == "comparison":
        exported = folder.result().get("export")
        read = [name for name in before if not name.startswith(("features-", "preparation-", "quantized-"))]
        return [*read, *([exported] if isinstance(exported, str) and exported.startswith("export-") else [])]
    if folder.kind in ("teacher", "student"):
        measured = run_folder.place(Path(), "evaluation", folder.name, "").name
        views = [name for name in before if name.startswith("view-")]
        return [*views, *(name for name in runs.names() if name.startswith(measured))]
    return []
