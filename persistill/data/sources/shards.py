"""Data sets in several files: which files there are, and to which part each belongs."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from persistill.data.sources.base import part_of
from persistill.data.sources.shard_file import ShardFile
from persistill.errors import UserError
from persistill.utils.image_files import leads_back

Shard = TypeVar("Shard", bound=ShardFile)


def shard_files(folder: Path, ending: str) -> list[Path]:
    """The files of one ending in a folder and up to two folders below it (configuration, split), sorted.

    Hidden files and folders are passed over.

    Args:
        folder: where to look.
        ending: of their names, in lower case, with its dot.
    """
    found: list[Path] = []

    def collect(place: Path, depth: int) -> None:
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(ending) and entry.is_file():
                    found.append(Path(entry.path))
                elif depth and entry.is_dir() and not leads_back(Path(entry.path)):
                    collect(Path(entry.path), depth - 1)

    collect(folder, 2)
    return sorted(found)


def shards_by_part(where: str, files: Sequence[Shard], what: str) -> dict[str, list[Shard]]:
    """Files by the part that they belong to, each in the order given.

    Files belong to a part by the beginning of their name (train, val, dev, test) or of a folder's above them; where no
    file has such a name, all are training images.

    Args:
        where: what to call the data set in messages, and in the names of its folders.
        files: at least one.
        what: to call them in messages.

    Raises:
        UserError: if some have such a name and others have not, or folders of several configurations hold them.
    """
    _require_one_configuration(where, files, what)
    parts: dict[str, list[Shard]] = {}
    for file in files:
        above = [part_of(name) for name in file.inside.parent.parts]
        part = part_of(file.inside.name) or next(filter(None, reversed(above)), "")
        parts.setdefault(part, []).append(file)
    nameless = parts.pop("", [])
    if nameless and parts:
        raise UserError(
            f"{nameless[0]} belongs to no part: the names of {what} begin with train, val or test, "
            f"as those of others in {where} do."
        )
    return parts or {"train": nameless}


def _require_one_configuration(where: str, files: Sequence[ShardFile], what: str) -> None:
    """See that files lie in one folder, but for folders that are named by parts."""
    found = {PurePosixPath(*(n for n in file.inside.parent.parts if part_of(n) is None)) for file in files}
    if len(found) > 1:
        names = sorted(path.as_posix() for path in found)
        raise UserError(
            f"{where} has {what} of several data sets or configurations: {', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}. Name the folder of one: "
            f"--set data.source={where.rstrip('/')}/{names[-1]}"
        )
