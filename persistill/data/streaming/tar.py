"""The images in tar files, read a few at a time."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from persistill.data.sources.tar_index import read_member, tar_members
from persistill.data.streaming.encoded import Encoded, EncodedStream
from persistill.errors import UserError
from persistill.utils.image_files import is_image_name
from persistill.utils.image_reader import SUFFIXES, open_image


class TarStream(EncodedStream):
    """The images in tar files, in their order there, whatever else lies beside them.

    Args:
        root: the folder that names are told from.
        files: at least one; of each image name and place stay in memory.

    Raises:
        UserError: if a file is damaged or compressed, or there are no images.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._files = files
        self._names: list[str] = []
        places: list[tuple[int, int, int]] = []
        for number, file in enumerate(files):
            shown = file.relative_to(root).as_posix()
            with file.open("rb") as opened:
                for member in tar_members(opened, file.stat().st_size, file):
                    if is_image_name(member.name.rpartition("/")[2]):
                        self._names.append(f"{shown}/{member.name}")
                        places.append((number, member.offset, member.size))
        if not places:
            where = files[0] if len(files) == 1 else root
            raise UserError(f"{where} holds no images ({', '.join(sorted(SUFFIXES))}) in tar files.")
        self._places = np.array(places, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._names)

    def name(self, position: int) -> str:
        """The tar file's path inside the folder, and the image's inside the tar file."""
        return self._names[position]

    def encoded(self, positions: Iterable[int]) -> Iterator[Encoded]:
        """Images that are read by whoever decodes them."""
        for position in positions:
            number, offset, size = self._places[position].tolist()
            yield Encoded(partial(_open, self._files[number], offset, size), partial(int, size))

    def part(self, positions: range) -> "TarStream":
        """Some of the images."""
        some = copy.copy(self)
        some._names, some._places = (  # noqa: SLF001 - of this class
            self._names[positions.start : positions.stop],
            self._places[positions.start : positions.stop],
        )
        return some

    def close(self) -> None:
        """Nothing stays open."""


def _open(file: Path, offset: int, size: int) -> Image.Image:
    with file.open("rb") as opened:
        return open_image(read_member(opened, offset, size))
