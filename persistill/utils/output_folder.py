"""Folders that are written into, looked at before any work."""

from pathlib import Path

from persistill.errors import UserError


def require_folder(path: Path, option: str = "--out") -> Path:
    """A path at which a folder is or can be made.

    Args:
        path: what was given.
        option: by which it was given.

    Raises:
        UserError: if it, or what it is to be made in, is no folder.
    """
    place = next((one for one in (path, *path.absolute().parents) if one.exists()), path)
    if place.exists() and not place.is_dir():
        whole = "it is a file" if place == path else f"{place} is a file"
        raise UserError(f"{option} {path}: {whole}, and a folder is needed there. Give another name, or move the file.")
    return path
