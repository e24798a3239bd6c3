"""Files that are written whole or not at all."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persistill.errors import UserError
from persistill.utils.strict_json import decode_json

_SUFFIX = ".unfinished"
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.unfinished")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path; move it to ``path`` when the block ends, remove it when the block fails.

    Whoever reads ``path`` sees the old file or the new one, never half of one; a full disk loses nothing. The temporary
    path has the name of ``path``, in a hidden folder of its own beside it: libraries that write a file put others
    beside it for a while, and what they leave there when the process is killed is swept with the folder.
    """
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_SUFFIX, dir=path.parent))
    temporary = folder / path.name
    try:
        temporary.touch()
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the temporary folders that killed processes left in a folder. Nobody else may be writing there."""
    for path in folder.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path)


def encode_json(content: object) -> bytes:
    """What ``write_json`` writes."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(encode_json(content))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: if the file is missing or is not JSON that ``decode_json`` takes.
    """
    try:
        return decode_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"there is no file {path}.") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}). Move the folder away and run the recipe again.") from None
