"""Image files below a folder."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from persistill.utils.image_reader import SUFFIXES
from persistill.utils.units import first_few

OTHER_FORMATS = frozenset(
    {
        *(".arw", ".cr2", ".cr3", ".dcm", ".dng", ".emf", ".eps", ".exr", ".heic", ".heif", ".ico", ".j2k", ".jp2"),
        *(".jxl", ".nef", ".orf", ".pcx", ".psd", ".raw", ".rw2", ".svg", ".tga", ".wmf"),
        *({".avif"} - SUFFIXES),
    }
)
"""Endings of images in formats that are not read."""

DRAWN_MASKS, DRAWN_BOXES = ".mask.png", ".boxes.png"
"""Endings of what ``segment.py``, ``predict`` and ``detect.py`` draw beside images."""

Place = tuple[int, int]


class ImageFiles(NamedTuple):
    """The image files below a folder, and what was not taken.

    Attributes:
        names: their paths, relative to the folder, with / on every system, sorted.
        other_formats: ending -> number of files in formats that are not read.
        links_back: links to a folder that holds them, which were not followed.
        repeated: names that lead, through a link, to the file of an earlier one; not in ``names``.
        broken_links: links to nothing.
        linked: those of ``names`` that were reached through a link.
    """

    names: tuple[str, ...]
    other_formats: Mapping[str, int]
    links_back: tuple[str, ...]
    repeated: tuple[str, ...]
    broken_links: tuple[str, ...]
    linked: tuple[str, ...]


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image: by its ending, and not hidden."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def image_names(folder: Path) -> list[str]:
    """The names that ``find_image_files`` finds."""
    return list(find_image_files(folder).names)


def find_image_files(folder: Path, *, linked: bool = False) -> ImageFiles:
    """Find all image files below a folder.

    Hidden files and folders are passed over. Links to folders are followed, which large collections are often made of;
    one that leads back, to a folder in which it lies itself, is not, wherever the search began: ``photos/cat/all``, a
    link to ``photos``, gives no cats.

    Args:
        folder: where to search.
        linked: whether it was reached through a link itself.
    """
    search = _Search(folder)
    search.collect(folder, "", linked=linked)
    names, repeated = sorted(search.found), list[str]()
    if any(search.found.values()):
        seen: set[Place] = set()
        kept: list[str] = []
        # What lies here itself comes before what a link leads to.
        for name in sorted(names, key=lambda name: (search.found[name], name)):
            place = _place(folder / name)
            (repeated if place in seen else kept).append(name)
            seen.add(place)
        names, repeated = sorted(kept), sorted(repeated)
    return ImageFiles(
        names=tuple(names),
        other_formats=search.others,
        links_back=tuple(sorted(search.back)),
        repeated=tuple(repeated),
        broken_links=tuple(sorted(search.broken)),
        linked=tuple(name for name in names if search.found[name]),
    )


def leads_back(path: Path) -> bool:
    """Whether a folder is a link to a folder in which it lies itself."""
    if not path.is_symlink():
        return False
    target, parent = path.resolve(), path.parent.resolve()
    return target == parent or target in parent.parents


def join_image_files(searched: Iterable[tuple[str, ImageFiles]]) -> ImageFiles:
    """What was found in several folders as one, names behind those of their folders.

    Args:
        searched: (name of the folder with / at its end, what was found there).
    """
    searched = list(searched)
    others: Counter[str] = Counter()
    for _, files in searched:
        others.update(files.other_formats)

    def joined(field: str) -> tuple[str, ...]:
        return tuple(prefix + name for prefix, files in searched for name in getattr(files, field))

    return ImageFiles(
        joined("names"), others, joined("links_back"), joined("repeated"), joined("broken_links"), joined("linked")
    )


def not_taken(files: ImageFiles, where: str) -> list[str]:
    """What of a folder was not taken, a sentence each.

    Args:
        files: what was found.
        where: what to call the folder.
    """
    sentences = []
    if files.other_formats:
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in sorted(files.other_formats.items()))
        sentences.append(f"{kinds} below {where}: files in formats that are not read; they are passed over.")
    if files.links_back:
        sentences.append(
            f"{first_few(files.links_back)} below {where}: links to a folder that holds them; they are not followed."
        )
    if files.repeated:
        sentences.append(
            f"{first_few(files.repeated)} below {where}: by links the same files as others; each is taken once."
        )
    if files.broken_links:
        sentences.append(f"{first_few(files.broken_links)} below {where}: links to nothing; they are passed over.")
    return sentences


class _Search:
    """What was found so far.

    Attributes:
        found: name -> whether it was reached through a link.
    """

    def __init__(self, folder: Path) -> None:
        real = folder.resolve()
        self._above = {_place(path) for path in (real, *real.parents, *folder.absolute().parents)}
        self.found: dict[str, bool] = {}
        self.others: Counter[str] = Counter()
        self.back: list[str] = []
        self.broken: list[str] = []

    def collect(
        self, folder: Path, prefix: str, above: frozenset[Place] = frozenset(), *, linked: bool = False
    ) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name, through = prefix + entry.name, linked or entry.is_symlink()
                if entry.is_dir():
                    with contextlib.suppress(FileNotFoundError):  # folders that others remove meanwhile hold nothing
                        self._descend(Path(entry.path), name, above, through=through)
                elif not entry.is_file():
                    if entry.is_symlink() and is_image_name(entry.name):
                        self.broken.append(name)
                elif is_image_name(entry.name):
                    self.found[name] = through
                elif (ending := Path(entry.name).suffix.lower()) in OTHER_FORMATS:
                    self.others[ending] += 1

    def _descend(self, folder: Path, name: str, above: frozenset[Place], *, through: bool) -> None:
        place = _place(folder)
        if place in above or (through and place in self._above):
            self.back.append(name)
        else:
            self.collect(folder, f"{name}/", above | {place}, linked=through)


def _place(path: Path) -> Place:
    found = path.stat()
    return found.st_dev, found.st_ino
