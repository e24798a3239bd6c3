"""Whether the shards of results are still those that were written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persistill.errors import UserError
from persistill.extraction.result_folder import INDEX
from persistill.utils import file_hashes
from persistill.utils.atomic_io import read_json


def is_sharded(folder: Path) -> bool:
    """Whether a folder holds whole results in shards."""
    return (folder / INDEX).is_file()


def differences(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """What tells each shard from the one that was written; None where nothing does.

    Args:
        folder: with whole results in shards.

    Yields:
        The file, and what is wrong.

    Raises:
        UserError: if the index is damaged.
    """
    about: Any = read_json(folder / INDEX)
    try:
        shards = [(folder / shard["file"], int(shard["size"]), str(shard["sha256"])) for shard in about["shards"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / INDEX} is damaged ({type(error).__name__}: {error}). Move {folder} away, and run the same "
            "persistill topology again."
        ) from error
    for path, size, digest in shards:
        yield path, file_hashes.difference(path, size, digest)
