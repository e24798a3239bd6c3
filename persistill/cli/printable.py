"""Names of files as they are printed."""

from pathlib import Path


def printable(name: Path | str) -> str:
    """A name as text: bytes in it that are none become question marks."""
    return str(name).encode("utf-8", "replace").decode()
