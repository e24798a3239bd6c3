"""The images of one tar file in the layout of WebDataset, with what is said of the class of each."""

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import platformdirs

from persistill.data.sources.base import LABEL_NAMES
from persistill.data.sources.shard_file import ShardFile
from persistill.data.sources.tar_index import MemberFile, TarMember, read_member, tar_members
from persistill.errors import UserError
from persistill.utils.atomic_io import read_json, write_json
from persistill.utils.image_reader import SUFFIXES, Header, open_image, read_header
from persistill.utils.preprocessing import DEFAULT, require_range
from persistill.utils.strict_json import decode_json

_FORMAT = 1
_LARGEST_LABEL = 2**20  # bytes
_WHOLE = re.compile(r"-?\d{1,18}")

ClassValue = int | str | None
"""What is said of a class: its number, its name, or nothing."""


class TarSample(NamedTuple):
    """An image in a tar file.

    Attributes:
        image: where it lies.
        value: what is said of its class.
        header: what is known of it, if it was looked at.
    """

    image: TarMember
    value: ClassValue
    header: Header | None


class TarSamples(NamedTuple):
    """What a tar file holds.

    Attributes:
        samples: its images, in order.
        alone: files that would say the class of an image that is not there.
    """

    samples: list[TarSample]
    alone: list[str]


def tar_samples(file: ShardFile, label: str | None) -> TarSamples:
    """Find the images of a tar file.

    One behind a URL is read through once, in blocks that leave out what is large, and images' headers are looked at on
    the way; what was found is kept in the user's cache folder, under the version of the file.

    Args:
        file: the tar file.
        label: the key of the JSON files that holds the class; None to take ``.cls`` files, where there are some.

    Raises:
        UserError: if it is damaged or cannot be reached, several images have one name, or a class cannot be read.
    """
    far = file.beside is None
    if not far or file.version is None:
        return _read(file, label, headers=far)
    about = repr((_FORMAT, str(file), file.version, label))
    key = hashlib.sha256(about.encode()).hexdigest()[:32]
    kept = Path(platformdirs.user_cache_dir("persistill")) / "tar_indexes" / f"{key}.json"
    if (known := _known(kept, file.size())) is not None:
        return known
    found = _read(file, label, headers=True)
    with contextlib.suppress(OSError):  # where no cache can be written, the file is read through the next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        rows = [[*sample.image, sample.value, sample.header] for sample in found.samples]
        write_json(kept, {"samples": rows, "alone": found.alone})
    return found


def _read(file: ShardFile, label: str | None, *, headers: bool) -> TarSamples:
    images: dict[str, tuple[TarMember, Header | None]] = {}
    labels: dict[str, tuple[TarMember, bytes]] = {}
    with file.open() as opened:
        for member in tar_members(opened, file.size(), file):
            folder, slash, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            key = f"{folder}{slash}{stem}"
            if f".{ending.rpartition('.')[2].lower()}" in SUFFIXES:
                if key in images:
                    raise UserError(
                        f"{file} holds two images of one name, {images[key][0].name} and {member.name}: of each name, "
                        "up to the first dot, one image with its class is read."
                    )
                images[key] = member, _header(opened, member) if headers else None
            elif (label is None and ending.lower() == "cls") or (ending.lower() == "json" and key not in labels):
                small = member.size <= _LARGEST_LABEL
                labels[key] = member, read_member(opened, member.offset, member.size) if small else b""
    samples = [
        TarSample(image, _value(file, *labels[key], label) if key in labels else None, header)
        for key, (image, header) in images.items()
    ]
    alone = [f"{file.inside.name}/{member.name}" for key, (member, _) in labels.items() if key not in images]
    return TarSamples(samples, alone)


def _header(opened: BinaryIO, member: TarMember) -> Header | None:
    """Of an image that can be read; what is wrong with another is told when it is opened."""
    with (
        contextlib.suppress(OSError, ValueError, SyntaxError),
        open_image(cast("BinaryIO", MemberFile(opened, member))) as image,
    ):
        require_range(image, DEFAULT)
        return read_header(image)
    return None


def _value(file: ShardFile, member: TarMember, data: bytes, label: str | None) -> ClassValue:
    """What a .cls or .json file says of a class."""
    if member.size > _LARGEST_LABEL:
        raise UserError(f"{file}/{member.name} does not say a class: it has {member.size:,} bytes.")
    try:
        if member.name.lower().endswith(".cls"):
            text = data.decode("utf-8").strip()
            return int(text) if _WHOLE.fullmatch(text) else text or None
        content = decode_json(data)
    except ValueError as error:
        raise UserError(f"{file}/{member.name} does not say a class ({error}).") from None
    if not isinstance(content, dict):
        return None
    keys = LABEL_NAMES if label is None else (label,)
    value: Any = next((content[key] for key in keys if key in content), None)
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool)):
        return value
    raise UserError(f"{file}/{member.name} does not say a class: it is {value!r}, and a class is a number or a name.")


def _known(kept: Path, length: int) -> TarSamples | None:
    """What was kept; None where nothing of use was."""
    try:
        content = read_json(kept)
        samples = [_sample(row, length) for row in content["samples"]]
        return TarSamples(samples, [str(name) for name in content["alone"]])
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None


def _sample(row: Any, length: int) -> TarSample:
    """An entry of what was kept.

    Raises:
        ValueError, TypeError: if it cannot be one.
    """
    name, offset, size, value, header = row
    numbers = (offset, size, *(header or ()))
    if not isinstance(name, str) or any(not isinstance(number, int) or number < 0 for number in numbers):
        raise TypeError
    if offset + size > length or not (value is None or isinstance(value, int | str)):
        raise ValueError
    return TarSample(TarMember(name, offset, size), value, header and Header(*header))
