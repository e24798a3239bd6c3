"""What lies where in a tar file, so that any of its files is read by itself, without the others."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from persistill.errors import UserError
from persistill.utils.ranged_file import RangedFile


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


def tar_members(opened: BinaryIO, length: int, file: object) -> Iterator[TarMember]:
    """The regular files in a tar file, in order; only headers are read, and one is in memory.

    Hidden files, links and what has holes (sparse files) are passed over.

    Args:
        opened: the tar file; what was found may be read of it in between.
        length: its bytes.
        file: what to call it in messages.

    Raises:
        UserError: if it is no tar file, compressed, or cut short.
    """
    try:
        with tarfile.open(fileobj=opened, mode="r:") as archive:
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
    return whole(opened.read(size), size)


def whole(data: bytes, size: int) -> bytes:
    """What was read of a tar file.

    Raises:
        ValueError: if it is less than was to be read.
    """
    if len(data) < size:
        raise ValueError("the tar file has become shorter since its index was read")
    return data


class MemberFile(RangedFile):
    """A file in a tar file, as a file of its own: what is not asked for is not read.

    Args:
        opened: the tar file. Nobody else may read it meanwhile.
        member: the file in it.
    """

    def __init__(self, opened: BinaryIO, member: TarMember) -> None:
        def fetch(offset: int, length: int) -> bytes:
            opened.seek(member.offset + offset)
            return opened.read(length)

        super().__init__(member.size, fetch)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in name.split("/"))
