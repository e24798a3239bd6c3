"""Results that `persistill topology` wrote, in one file or in shards, image after image without reading all of them."""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from persistill.topology.diagrams import Diagrams
from persistill.topology.io import load_diagrams

_SETTINGS, _INDEX, _NAMES = "settings.json", "index.json", "names.txt"
_DIAGRAMS = ".npz"
_OPEN = 128
"""Files that are mapped at the same time: each takes one of the descriptors that a process has, often 1,024."""


class _Stored:
    """What results of both kinds have in common: files of consecutive rows.

    Attributes:
        shape: of all results; the first number is that of the images.
    """

    def __init__(self, folder: str | os.PathLike[str], *, diagrams: bool) -> None:
        self._folder = Path(folder)
        try:
            settings = self._json(_SETTINGS)
            result, self.shape = str(settings["result"]), tuple(map(int, settings["shape"]))
            sharded = "images_per_shard" in settings["parameters"]
            whole: Any = [{"file": result, "rows": self.shape[0]}]
            shards = self._json(_INDEX)["shards"] if sharded else whole
            self._files = [self._folder / shard["file"] for shard in shards]
            self._starts = np.cumsum([0, *(int(shard["rows"]) for shard in shards)])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._folder} holds no whole results of persistill topology ({type(error).__name__}: {error}). "
                "Give the folder of its --out, after it has run to its end."
            ) from error
        if result.endswith(_DIAGRAMS) != diagrams:
            which = "StoredArray" if diagrams else "StoredDiagrams"
            raise ValueError(f"{self._folder} holds {result}: open it as {which}.")

    def _json(self, name: str) -> Any:
        return json.loads((self._folder / name).read_bytes())

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def names(self) -> list[str]:
        """Of the images, in order."""
        text = (self._folder / _NAMES).read_bytes().decode(errors="surrogateescape")
        return text.split("\n")[:-1]

    def _place(self, index: int) -> tuple[int, int]:
        """Number of the file, and row in it."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no result {index}; there are {len(self)}.")
        index %= len(self)
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return number, index - int(self._starts[number])


class StoredArray(_Stored):
    """Persistence images (N, scans * C, rows, columns) or Betti curves (N, scans * C, levels), mapped into memory.

    It is a data set as torch's ``DataLoader`` takes it; its processes map the files by themselves.

    Attributes:
        shape: as above.
        dtype: of the values.

    Args:
        folder: that was given to ``persistill topology`` as ``--out``.

    Raises:
        ValueError: if it holds no whole results, or diagrams.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder, diagrams=False)
        self._arrays: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self.dtype = self._array(0).dtype

    @overload
    def __getitem__(self, index: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[Any]: ...
    def __getitem__(self, index: Any) -> NDArray[Any]:
        """A copy of the results of one image, or of several (a slice, or indices in any order).

        Raises:
            IndexError: if there is no such image, or indices are no whole numbers (a mask).
            ValueError: if a file is missing, damaged or of another shape.
        """
        if isinstance(index, int | np.integer):
            number, row = self._place(int(index))
            return np.array(self._array(number)[row])
        if isinstance(index, slice):
            index = range(len(self))[index]
        elif not isinstance(index, range) and (kind := np.asarray(index)).size and kind.dtype.kind not in "iu":
            raise IndexError(
                f"results are chosen by whole numbers, not by {kind.dtype}; of a mask take np.flatnonzero."
            )
        places = [self._place(int(one)) for one in index]
        out = np.empty((len(places), *self.shape[1:]), self.dtype)
        numbers = np.array([number for number, _ in places], np.int64)
        rows = np.array([row for _, row in places], np.int64)
        for number in np.unique(numbers):
            here = numbers == number
            out[here] = self._array(int(number))[rows[here]]
        return out

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[index] for index in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the files by itself."""
        return {**vars(self), "_arrays": OrderedDict()}

    def _array(self, number: int) -> NDArray[Any]:
        array = self._arrays.pop(number, None)
        self._arrays[number] = array = self._mapped(number) if array is None else array
        while len(self._arrays) > _OPEN:
            self._arrays.popitem(last=False)
        return array

    def _mapped(self, number: int) -> NDArray[Any]:
        file = self._files[number]
        shape = (int(self._starts[number + 1] - self._starts[number]), *self.shape[1:])
        try:
            array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{file} is missing or damaged: {error}. {_ADVICE}") from error
        if array.shape != shape:
            raise ValueError(f"{file} has shape {array.shape} instead of {shape}. {_ADVICE}")
        return array


class StoredDiagrams(_Stored):
    """Diagrams of shape (N, scans * C) on disk; one file at a time is in memory.

    It is a data set as torch's ``DataLoader`` takes it, fastest in order.

    Attributes:
        shape: as above.

    Args:
        folder: that was given to ``persistill topology`` as ``--out``.

    Raises:
        ValueError: if it holds no whole results, or arrays.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__(folder, diagrams=True)
        self._last: tuple[int, Diagrams[NDArray[Any]]] | None = None

    def __getitem__(self, index: int) -> Diagrams[NDArray[Any]]:
        """The diagrams of one image, of shape (scans * C,).

        Raises:
            IndexError: if there is no such image.
            ValueError: if a file is missing or damaged.
        """
        number, row = self._place(int(index))
        return self._diagrams(number)[row, :]

    def __iter__(self) -> Iterator[Diagrams[NDArray[Any]]]:
        return (self[index] for index in range(len(self)))

    def batches(self) -> Iterator[Diagrams[NDArray[Any]]]:
        """The diagrams of each file, of shape (images, scans * C), in order."""
        return (self._diagrams(number) for number in range(len(self._files)))

    def __getstate__(self) -> dict[str, Any]:
        """Another process reads the files by itself."""
        return {**vars(self), "_last": None}

    def _diagrams(self, number: int) -> Diagrams[NDArray[Any]]:
        if self._last is None or self._last[0] != number:
            try:
                self._last = number, load_diagrams(self._files[number])
            except (OSError, ValueError) as error:
                raise ValueError(f"{self._files[number]} is missing or damaged: {error}. {_ADVICE}") from error
        return self._last[1]


_ADVICE = "Run the same persistill topology again, which makes what is missing."
