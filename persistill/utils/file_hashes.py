"""Whether files are still those that were written: their sizes and SHA-256 hashes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from persistill.utils.atomic_io import encode_json

Entry = tuple[int, str]
"""Bytes, and the SHA-256 hash in hexadecimal."""

_known: dict[tuple[str, int, int], str] = {}
"""Hashes that this process has computed, by path, size and time of the last change: a file is read through once."""


def of_file(path: Path) -> Entry:
    """Size and hash of a file."""
    found = path.stat()
    key = str(path.resolve()), found.st_size, found.st_mtime_ns
    if key not in _known:
        with path.open("rb") as file:
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return found.st_size, _known[key]


def of_json(content: object) -> Entry:
    """Size and hash of the file that ``atomic_io.write_json`` makes of ``content``."""
    data = encode_json(content)
    return len(data), hashlib.sha256(data).hexdigest()


def of_folder(folder: Path, leave_out: Iterable[str] = ()) -> dict[str, Entry]:
    """Size and hash of all files below a folder, by their path in it; hidden ones are passed over.

    Args:
        folder: exists.
        leave_out: names of files and folders directly in it.
    """
    passed = set(leave_out)
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and not hidden and inside.parts[0] not in passed:
            found[inside.as_posix()] = of_file(path)
    return found


def difference(path: Path, size: int, digest: str) -> str | None:
    """What tells a file from the one that was written; None if nothing does.

    The size is looked at always; the content once in a process, and again where the file was changed since.
    """
    if not path.is_file():
        return "it is gone"
    now = path.stat().st_size
    if now != size:
        return f"it has {now:,} bytes instead of {size:,}"
    return None if of_file(path)[1] == digest else "its content was changed (SHA-256)"
