"""Image files below a folder."""

import os
from pathlib import Path

from persistill.utils.image_reader import SUFFIXES


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image: by its ending, and not hidden."""
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def image_names(folder: Path) -> list[str]:
    """Paths of all image files below a folder, relative to it, with / on every system, sorted.

    Hidden files and folders are passed over. Links to folders are followed, which large collections are often made of;
    one that leads to a folder that holds it is not.
    """
    found: list[str] = []
    _collect(folder, "", (), found)
    return sorted(found)


def _collect(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], found: list[str]) -> None:
    here = folder.stat()
    place = (here.st_dev, here.st_ino)
    if place in above:
        return  # a link to a folder that holds it
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                _collect(Path(entry.path), f"{prefix}{entry.name}/", (*above, place), found)
            elif is_image_name(entry.name) and entry.is_file():
                found.append(prefix + entry.name)
