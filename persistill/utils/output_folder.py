"""Folders that are written into, looked at before any work."""

import re
from pathlib import Path

from persistill.errors import UserError

_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")


def is_collapsed_url(path: Path) -> bool:
    """Whether a path was made of a URL, and lost one of its slashes."""
    return _COLLAPSED.match(path.as_posix()) is not None


def require_no_url(path: Path, option: str) -> None:
    """Raise a UserError for the URL that a path was made of: a folder of that name would be made, unseen."""
    if is_collapsed_url(path):
        raise UserError(f"{option} {path}: it names a place of this machine, and no URL. Give a path.")


def require_folder(path: Path, option: str = "--out") -> Path:
    """A path at which a folder is or can be made.

    Args:
        path: what was given.
        option: by which it was given.

    Raises:
        UserError: if it, or what it is to be made in, is no folder, or it is a URL.
    """
    require_no_url(path, option)
    place = next((one for one in (path, *path.absolute().parents) if one.exists()), path)
    if place.exists() and not place.is_dir():
        whole = "it is a file" if place == path else f"{place} is a file"
        raise UserError(f"{option} {path}: {whole}, and a folder is needed there. Give another name, or move the file.")
    return path
