"""One container for the persistence diagrams of a whole batch."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = TypeVar("Array", NDArray[Any], Tensor)


class Diagrams(Generic[Array]):
    """The persistence diagrams of a batch: the points of all diagrams one after another, with their bounds.

    A diagram is an unordered multiset of points (birth, death). Sublevel sets give birth <= death, superlevel
    sets birth >= death; a class that never dies has an infinite death. All arrays are of one kind, NumPy's or
    torch's, and ``values`` may carry gradients.

    Attributes:
        values: (P, 2), births and deaths, in the units and the dtype of the input (8-bit input: levels 0 to 255).
        offsets: (n + 1,) int64; diagram ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
        shape: the batch shape; its product is ``n`` and diagrams are numbered in C order.
        indices: (P, 2) int64, position of the birth and of the death within one input, -1 where there is none
            (the death of a class that never dies); None if they were not recorded.
        dimension: homological dimension, 0 for connected components.

    Raises:
        ValueError: if the arrays do not fit together.
    """

    def __init__(
        self,
        values: Array,
        offsets: Array,
        shape: Sequence[int] | None = None,
        *,
        indices: Array | None = None,
        dimension: int = 0,
    ) -> None:
        if values.ndim != 2 or values.shape[1] != 2:
            raise ValueError(f"values must have shape (P, 2), births and deaths; got {tuple(values.shape)}.")
        if offsets.ndim != 1 or len(offsets) == 0 or "int64" not in str(offsets.dtype):
            raise ValueError(f"offsets must be (n + 1,) int64; got {tuple(offsets.shape)} {offsets.dtype}.")
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(values) or bool((offsets[1:] < offsets[:-1]).any()):
            raise ValueError(f"offsets must rise from 0 to {len(values)}, the number of points.")
        if indices is not None and tuple(indices.shape) != tuple(values.shape):
            raise ValueError(
                f"indices must have the shape of values, {tuple(values.shape)}; got {tuple(indices.shape)}."
            )
        self.values: Array = values
        self.offsets: Array = offsets
        self.shape = (len(offsets) - 1,) if shape is None else tuple(int(side) for side in shape)
        self.indices: Array | None = indices
        self.dimension = dimension
        if math.prod(self.shape) != len(offsets) - 1:
            raise ValueError(f"shape {self.shape} does not hold {len(offsets) - 1} diagrams.")

    @classmethod
    def from_list(cls, diagrams: Sequence[Array], *, dimension: int = 0) -> "Diagrams[Array]":
        """Join diagrams given one by one, each (k, 2), as GUDHI, ripser and persim hold them.

        An empty diagram may have any shape with no elements. There must be at least one diagram: the kind of
        array and the dtype follow from the first.
        """
        if len(diagrams) == 0:
            raise ValueError("diagrams is an empty list: what kind of array to make of it is unknown.")
        for number, diagram in enumerate(diagrams):
            if 0 not in diagram.shape and (diagram.ndim != 2 or diagram.shape[1] != 2):
                raise ValueError(f"diagrams[{number}] must have shape (k, 2); got {tuple(diagram.shape)}.")
        parts: list[Any] = [diagram.reshape(-1, 2) for diagram in diagrams]
        values: Any = torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)
        offsets: Any = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        if isinstance(values, Tensor):
            offsets = torch.from_numpy(offsets).to(values.device)
        return cls(values, offsets, dimension=dimension)

    def to_list(self) -> list[Array]:
        """The diagrams one by one, each (k, 2), views of ``values``."""
        values: Any = self.values
        return [values[low:high] for low, high in itertools.pairwise(self.offsets.tolist())]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, position: int | tuple[int, ...]) -> Array:
        """One diagram (k, 2), by its number in C order or by its position in the batch shape."""
        if isinstance(position, tuple):
            number = int(np.ravel_multi_index(position, self.shape))
        else:
            number = position + len(self) if position < 0 else position
        if not 0 <= number < len(self):
            raise IndexError(f"there is no diagram {position} among {len(self)}.")
        diagram: Array = self.values[int(self.offsets[number]) : int(self.offsets[number + 1])]
        return diagram

    def __iter__(self) -> Iterator[Array]:
        return iter(self.to_list())

    def __repr__(self) -> str:
        kind = "torch" if isinstance(self.values, Tensor) else "numpy"
        return (
            f"Diagrams({len(self)} diagrams, {len(self.values)} points, shape={self.shape}, "
            f"dimension={self.dimension}, {kind} {str(self.values.dtype).removeprefix('torch.')})"
        )

    @property
    def births(self) -> Array:
        """(P,) births."""
        births: Array = self.values[:, 0]
        return births

    @property
    def deaths(self) -> Array:
        """(P,) deaths."""
        deaths: Array = self.values[:, 1]
        return deaths

    @property
    def persistences(self) -> Array:
        """(P,) lifetimes, the distance of death from birth, never negative, in the dtype of ``values``."""
        births, deaths = self.births, self.deaths
        # Not abs(): the difference of 8-bit levels would wrap around.
        lengths: Array = _library(births).where(deaths > births, deaths - births, births - deaths)
        return lengths

    @property
    def numbers(self) -> Array:
        """(P,) int64, the number of the diagram to which each point belongs."""
        counts: Any = self.offsets[1:] - self.offsets[:-1]
        numbers: Any = np.arange(len(self))
        if isinstance(counts, Tensor):
            numbers = torch.from_numpy(numbers).to(counts.device)
        result: Array = numbers.repeat_interleave(counts) if isinstance(counts, Tensor) else numbers.repeat(counts)
        return result

    def keep(self, mask: Array) -> "Diagrams[Array]":
        """Only the points where ``mask``, (P,) of booleans, is true."""
        if tuple(mask.shape) != (len(self.values),) or "bool" not in str(mask.dtype):
            raise ValueError(f"mask must be ({len(self.values)},) bool; got {tuple(mask.shape)} {mask.dtype}.")
        kept: Any = _library(mask).cumsum(mask, 0)
        # Before each bound, the points that were kept before it; none before the bound at 0.
        bounds = _library(mask).where(self.offsets > 0, kept[self.offsets - 1], 0) if len(kept) else self.offsets
        return Diagrams(
            self.values[mask],
            bounds,
            self.shape,
            indices=None if self.indices is None else self.indices[mask],
            dimension=self.dimension,
        )

    def longer_than(self, persistence: float) -> "Diagrams[Array]":
        """Only the points whose lifetime exceeds ``persistence``, in the units of ``values``."""
        mask: Array = self.persistences > persistence
        return self.keep(mask)

    def finite(self) -> "Diagrams[Array]":
        """Only the points that die."""
        mask: Array = _library(self.values).isfinite(self.deaths)
        return self.keep(mask)

    def cut(self, death: float) -> "Diagrams[Array]":
        """Let the classes that never die end at ``death``; their death index stays -1.

        In superlevel diagrams these end at the least value that they are to be followed to.
        """
        library: Any = _library(self.values)
        values: Array = library.where(library.isfinite(self.values), self.values, death)
        return Diagrams(values, self.offsets, self.shape, indices=self.indices, dimension=self.dimension)

    def numpy(self) -> "Diagrams[NDArray[Any]]":
        """The same diagrams in NumPy arrays, without gradients."""
        return self._converted(lambda array: array.detach().cpu().numpy() if isinstance(array, Tensor) else array)

    def torch(self) -> "Diagrams[Tensor]":
        """The same diagrams in torch tensors."""
        return self._converted(torch.as_tensor)

    def _converted(self, convert: Callable[[Any], Any]) -> "Diagrams[Any]":
        return Diagrams(
            convert(self.values),
            convert(self.offsets),
            self.shape,
            indices=None if self.indices is None else convert(self.indices),
            dimension=self.dimension,
        )


def unit_values(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values in float64; 8-bit levels divided by 255."""
    return values / 255.0 if values.dtype == np.uint8 else values.astype(np.float64)


def _library(array: object) -> Any:
    """The module with ``where``, ``cumsum`` and ``isfinite`` for this kind of array."""
    return torch if isinstance(array, Tensor) else np
