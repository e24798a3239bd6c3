"""What lies where in a tar file, so that any of its files is read by itself, without the others."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from persistill.errors import UserError


class TarMember(NamedTuple):
    """A file in a tar file.

    Attributes:
        name: its path there.
        offset: where its bytes begin in the tar file.
        size: how many there are.
    """

    name: str
    offset: int
    size: int


def tar_members(file: Path) -> Iterator[TarMember]:
    """The regular files in a tar file, in order; only headers are read, and one is in memory.

    Hidden files, links and what has holes (sparse files) are passed over.

    Raises:
        UserError: if it is no tar file, compressed, or cut short.
    """
    length = file.stat().st_size
    try:
        with tarfile.open(file, "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or it would hold the headers of all
                if member.offset_data + member.size > length:
                    raise tarfile.ReadError(f"{member.name} ends behind the end of the file")
                if member.isreg() and not member.issparse() and not _hidden(member.name):
                    yield TarMember(member.name, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read as a tar file ({error}). It may be cut short, or compressed: images are read from "
            "anywhere in it, which compression does not allow. Unpack it with gunzip or another tool."
        ) from None


def read_member(opened: BinaryIO, offset: int, size: int) -> bytes:
    """The bytes of a file in a tar file that is open.

    Raises:
        ValueError: if the tar file has become shorter.
        OSError: if it cannot be read.
    """
    opened.seek(offset)
    data = opened.read(size)
    if len(data) < size:
        raise ValueError("the tar file has become shorter since its index was read")
    return data


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in name.split("/"))
