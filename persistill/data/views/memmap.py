"""Arrays of a view on disk: written in one go, read memory-mapped."""

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from persistill.data.normalization import from_sums
from persistill.errors import UserError
from persistill.utils.atomic_io import atomic

_CHUNK = 256  # images

Shape = tuple[int, int, int]


class StoredView:
    """A view of the images of one split.

    Attributes:
        shape: (C, H, W).
        mean: per channel, measured on training images, values in [0, 1].
        std: likewise.
    """

    def __init__(self, array: npt.NDArray[Any], mean: Sequence[float], std: Sequence[float]) -> None:
        self._array = array
        self.shape: Shape = (array.shape[1], array.shape[2], array.shape[3])
        self.mean = tuple(mean)
        self.std = tuple(std)

    def __len__(self) -> int:
        return len(self._array)

    def fetch(self, index: Tensor) -> Tensor:
        """(B, C, H, W) float32 in [0, 1], on the CPU, of the images at ``index`` ((B,) int64)."""
        return unit(torch.from_numpy(self._array[index.cpu().numpy()]))


def unit(stored: Tensor) -> Tensor:
    """Stored values as float32 in [0, 1]."""
    return stored.float() / 255 if stored.dtype == torch.uint8 else stored.float()


def stored(values: Tensor, dtype: str) -> Tensor:
    """Values in [0, 1] as they are kept: "uint8" holds floor(255 * value), as the code of the TGD paper does."""
    return (values * 255).floor_().to(torch.uint8) if dtype == "uint8" else values.to(getattr(torch, dtype))


@contextlib.contextmanager
def array_writer(file: Path, shape: tuple[int, ...], dtype: str) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """Write a .npy file piece by piece along the first axis, whole or not at all.

    Plain writes, not a memory map: on a full disk they fail with an error where a map would end the process.

    Yields:
        A function that appends a piece.

    Raises:
        UserError: if the disk is full or cannot be written to.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    try:
        with atomic(file) as temporary, temporary.open("wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            yield lambda piece: _append(out, piece, dtype)
    except OSError as error:
        size = np.prod(shape, dtype=np.int64) * np.dtype(dtype).itemsize / 1024**2
        raise UserError(
            f"{file} cannot be written ({error.strerror}); it takes {size:.0f} MiB. Make room and run again: "
            "what was finished before is kept."
        ) from error


def write_array(file: Path, chunks: Iterator[npt.NDArray[Any]], shape: tuple[int, ...], dtype: str) -> None:
    """Write a .npy file from chunks along the first axis, as ``array_writer`` does."""
    with array_writer(file, shape, dtype) as append:
        for chunk in chunks:
            append(chunk)


def _append(out: BinaryIO, piece: npt.NDArray[Any], dtype: str) -> None:
    out.write(np.ascontiguousarray(piece, dtype=dtype).data)


def open_array(file: Path, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Map a .npy file into memory, to read.

    Raises:
        UserError: if it is missing, damaged, or of another shape or dtype.
    """
    advice = f"Move the folder {file.parent} away and run the recipe again."
    try:
        array: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"there is no file {file}. {advice}") from None
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise
        raise UserError(f"{file} is damaged ({error}). {advice}") from None
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UserError(
            f"{file} holds {array.shape} values of {array.dtype}, where the data have {shape} of {dtype}: it was made "
            f"from other data or settings. {advice}"
        )
    return array


def measure(array: npt.NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel of a stored (N, C, H, W) array, of values in [0, 1].

    8-bit values are summed exactly.
    """
    sums = np.zeros(array.shape[1])
    squares = np.zeros(array.shape[1])
    for start in range(0, len(array), _CHUNK):
        values = array[start : start + _CHUNK].astype(np.float64)
        sums += values.sum((0, 2, 3))
        squares += np.square(values).sum((0, 2, 3))
    count = len(array) * array.shape[2] * array.shape[3]
    if array.dtype == np.uint8:
        return from_sums([int(value) for value in sums], [int(value) for value in squares], count, 255)
    return from_sums(sums.tolist(), squares.tolist(), count, 1)
