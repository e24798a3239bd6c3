"""Images in a NumPy array on disk, .npy or .npz, read a few at a time."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from persistill.data.array_layout import LAYOUTS, array_layout
from persistill.data.streaming.base import ImageStream, Pixels, Survey, Unreadable
from persistill.errors import UserError, unknown
from persistill.utils.progress import Progress

ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
"""File names with these endings are arrays."""

_DTYPES = {"uint8": "uint8", "float16": "float32", "float32": "float32", "float64": "float64"}
_LUMINANCE = (19595, 38470, 7471)  # ITU-R 601 in parts of 65536, as Pillow weighs red, green and blue


class ArrayStream:
    """The images of an array (N, H, W), (N, C, H, W) or (N, H, W, C).

    Args:
        array: the part of it that is read comes into memory; all of ``array[i]`` must be there.
        path: its file.
        name: its name in the file, if that holds several.
        part: which of the images; None for all.

    Raises:
        UserError: if shape or dtype are not those of images, or if it cannot be told where the channels are.
    """

    def __init__(
        self,
        array: "npt.NDArray[Any] | ZippedArray",
        path: Path,
        name: str | None = None,
        part: range | None = None,
    ) -> None:
        self._array = array
        self._path = path
        self._name = name
        self._positions = range(array.shape[0]) if part is None else part
        self._title = path.name if name is None else f"{path.name}:{name}"
        where, shape = self._where, array.shape
        if array.dtype.name not in _DTYPES:
            raise UserError(
                f"{where} holds {array.dtype}; images are uint8 (0 to 255) or floating point. Convert it first."
            )
        self._layout = array_layout(shape, where)
        self._channels = self._layout.channels
        self.dtype = np.dtype(_DTYPES[array.dtype.name])

    @property
    def _where(self) -> str:
        return str(self._path.with_name(self._title))

    def __len__(self) -> int:
        return len(self._positions)

    def name(self, position: int) -> str:
        """File and index."""
        return f"{self._title}[{self._positions[position]}]"

    def survey(self, progress: Progress, *, grayscale: bool, threads: int) -> Survey:  # noqa: ARG002  told at once
        """Shape and time of the last change, without reading an image.

        Raises:
            UserError: if the images shall become gray and have neither one nor three channels.
        """
        if grayscale and self._channels not in (1, 3):
            raise UserError(
                f"{self._where} has {self._channels} channels; only three, red, green and blue, can become gray."
            )
        count = len(self)
        return Survey(
            channels=1 if grayscale else self._channels,
            sizes=np.broadcast_to(np.array([self._layout.height, self._layout.width], np.int32), (count, 2)),
            marks=np.broadcast_to(np.int64(self._path.stat().st_mtime_ns), (count,)),
            gray=0,
            problems={},
        )

    def read(self, positions: Sequence[int], channels: int, threads: int) -> list[Pixels | Unreadable]:  # noqa: ARG002
        """Images (C, H, W); one with a NaN or an infinity counts as unreadable, and the value's index is named.

        Raises:
            UserError: if the file is damaged.
        """
        return [self._read(self._positions[place], gray=channels < self._channels) for place in positions]

    def part(self, positions: range) -> "ArrayStream":
        """Some of the images."""
        return ArrayStream(self._array, self._path, self._name, self._positions[positions.start : positions.stop])

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the file by itself; no pixels are copied to it."""
        return _reopened, (self._path, self._name, self._positions)

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._array, ZippedArray):
            self._array.close()

    def _read(self, position: int, *, gray: bool) -> Pixels | Unreadable:
        try:
            image = np.asarray(self._array[position])
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{self._where} is damaged at image {position} ({error}).") from error
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            index = np.argwhere(~np.isfinite(image))[0].tolist()
            return Unreadable(f"value {index} is {image[tuple(index)]}; all must be finite")
        image = np.ascontiguousarray(self._layout.channels_first(image), self.dtype)
        return _luminance(image) if gray else image


class ZippedArray:
    """An array inside of an .npz file, compressed or not, read forwards without unpacking it whole.

    Args:
        file: the file.
        member: its name in there, with ".npy".

    Raises:
        ValueError: if it is no array of numbers, or stored column by column.
    """

    def __init__(self, file: Path, member: str) -> None:
        self._file = file
        self._member = member
        self._opened: tuple[zipfile.ZipFile, IO[bytes]] | None = None
        with zipfile.ZipFile(file) as archive, archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            self.shape, fortran, self.dtype = read(stream)
            self._start = stream.tell()
        if fortran and len(self.shape) > 1:
            raise ValueError("it is stored column by column; save numpy.ascontiguousarray(array)")

    def __getitem__(self, position: int) -> npt.NDArray[Any]:
        if self._opened is None:
            archive = zipfile.ZipFile(self._file)
            self._opened = archive, archive.open(self._member)
        stream = self._opened[1]
        size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        stream.seek(self._start + position * size)
        data = stream.read(size)
        if len(data) < size:
            raise EOFError("it is cut short")
        return np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def close(self) -> None:
        """Close the file, if it is open."""
        for handle in reversed(self._opened or ()):
            handle.close()
        self._opened = None


def open_array_stream(file: Path, field: str | None) -> ImageStream:
    """Open the images in an .npy or .npz file.

    Args:
        file: the file.
        field: which array of an .npz file; None if only one can be it.

    Raises:
        UserError: if the file is damaged, or holds no array of images.
    """
    try:
        if file.suffix.lower() == ".npz":
            return _open_zipped(file, field)
        if field is not None:
            raise UserError(f"--field {field} names an array of several, and {file} holds one. Leave it out.")
        return ArrayStream(np.load(file, mmap_mode="r", allow_pickle=False), file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read as {file.suffix[1:]}: {error}.") from error


def _reopened(file: Path, field: str | None, positions: range) -> ImageStream:
    return open_array_stream(file, field).part(positions)


def _open_zipped(file: Path, field: str | None) -> ArrayStream:
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    if field is not None:
        if field not in names:
            raise unknown(f"array in {file}", field, names)
        return ArrayStream(ZippedArray(file, f"{field}.npy"), file, field)
    arrays = {name: ZippedArray(file, f"{name}.npy") for name in names}
    images = [name for name, array in arrays.items() if len(array.shape) in (3, 4)]
    if len(images) != 1:
        what = (
            f"several arrays of images, {', '.join(images)}. Say which: --field {images[0]}"
            if images
            else (f"no array of images, {LAYOUTS}, among {', '.join(names) or 'none'}.")
        )
        raise UserError(f"{file} holds {what}")
    return ArrayStream(arrays[images[0]], file, images[0])


def _luminance(image: Pixels) -> Pixels:
    """(3, H, W) -> (1, H, W)."""
    if image.dtype != np.uint8:
        weights = np.array(_LUMINANCE, image.dtype) / image.dtype.type(1 << 16)
        gray: Pixels = np.einsum("c,chw->hw", weights, image)
        return gray[None]
    weighed: Pixels = np.einsum("c,chw->hw", np.array(_LUMINANCE, np.uint32), image.astype(np.uint32))
    return ((weighed + (1 << 15)) >> 16).astype(np.uint8)[None]
