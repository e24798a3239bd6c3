"""One container for the persistence diagrams of a whole batch."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data._utils.collate import default_collate_fn_map

from persistill.topology._checks import checked_number, refuse_masked

Array = TypeVar("Array", NDArray[Any], Tensor)


class Diagrams(Generic[Array]):
    """The persistence diagrams of a batch: the points of all diagrams one after another, with their bounds.

    A diagram is an unordered multiset of points (birth, death). Sublevel sets give birth <= death, superlevel
    sets birth >= death; a class that never dies has an infinite death. All arrays are of one kind, NumPy's or
    torch's, and ``values`` may carry gradients.

    Levels of 8-bit input are kept as they are, and ``scale`` says that 255 of them make 1. Whatever is computed from
    diagrams, or written in another library's layout, reads ``values / scale``; thresholds of methods, as that of
    ``longer_than``, are in the units of ``values``.

    A batch is also a sequence of its diagrams: ``len``, iteration, ``diagrams[number]`` and slices number them in C
    order, ``diagrams[position]`` takes a tuple of positions or slices in the batch shape. PyTorch's ``DataLoader``
    stacks the diagrams of samples as it stacks tensors.

    Attributes:
        values: (P, 2), births and deaths, in the units and the dtype of the input (8-bit input: levels 0 to 255; with
            classes that never die, float32).
        offsets: (n + 1,) int64; diagram ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
        shape: the batch shape; its product is ``n`` and diagrams are numbered in C order.
        indices: (P, 2) int64, position of the birth and of the death within one input, -1 where there is none
            (the death of a class that never dies); None if they were not recorded.
        dimension: homological dimension, 0 for connected components.
        scale: how much of ``values`` makes 1: 255 for levels of 8-bit input, 1 otherwise.

    Raises:
        TypeError: if these are no arrays, or masked ones.
        ValueError: if the arrays do not fit together, or the scale is not above 0.
    """

    def __init__(
        self,
        values: Array,
        offsets: Array,
        shape: Sequence[int] | None = None,
        *,
        indices: Array | None = None,
        dimension: int = 0,
        scale: float | None = None,
    ) -> None:
        values, offsets = _plain(values, "values"), _plain(offsets, "offsets")
        indices = None if indices is None else _plain(indices, "indices")
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
        eight_bits = str(values.dtype).removeprefix("torch.") == "uint8"
        self.scale = (255.0 if eight_bits else 1.0) if scale is None else checked_number("scale", scale, 0, strict=True)
        if math.prod(self.shape) != len(offsets) - 1:
            raise ValueError(f"shape {self.shape} does not hold {len(offsets) - 1} diagrams.")

    @classmethod
    def from_list(cls, diagrams: Sequence[Any], *, dimension: int = 0, scale: float | None = None) -> "Diagrams[Any]":
        """Join diagrams given one by one, each (k, 2), as GUDHI, ripser and persim hold them.

        Args:
            diagrams: arrays, tensors, or lists of pairs (which become float64 arrays), at least one. An empty diagram
                may have any shape with no elements. The kind of array and the dtype follow from the first.
            dimension: homological dimension.
            scale: see the class; by default it follows from the dtype.

        Raises:
            TypeError: if ``diagrams`` is no sequence, or one of them is no diagram.
            ValueError: if there is none, or one has another shape; it is named.
        """
        if isinstance(diagrams, np.ndarray | Tensor) and diagrams.ndim == 2:
            raise TypeError("diagrams must be a sequence of diagrams (k, 2); got a single one: put it into a list.")
        if len(diagrams) == 0:
            raise ValueError("diagrams is an empty list: what kind of array to make of it is unknown.")
        diagrams = [_from_pairs(diagram, f"diagrams[{number}]") for number, diagram in enumerate(diagrams)]
        for number, diagram in enumerate(diagrams):
            if 0 not in diagram.shape and (diagram.ndim != 2 or diagram.shape[1] != 2):
                raise ValueError(f"diagrams[{number}] must have shape (k, 2); got {tuple(diagram.shape)}.")
        parts: list[Any] = [diagram.reshape(-1, 2) for diagram in diagrams]
        values: Any = torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)
        offsets: Any = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        if isinstance(values, Tensor):
            offsets = torch.from_numpy(offsets).to(values.device)
        return cls(values, offsets, dimension=dimension, scale=scale)

    @classmethod
    def stack(cls, batches: Sequence["Diagrams[Array]"]) -> "Diagrams[Array]":
        """Stack batches of one shape, as ``torch.stack`` does with tensors: (...) -> (n, ...).

        Raises:
            TypeError: if one of them holds arrays and another tensors.
            ValueError: if there is none, or they differ in shape, dimension, scale, or in whether they have indices.
        """
        if len(batches) == 0:
            raise ValueError("batches is an empty list: what kind of array to make of it is unknown.")
        first: Diagrams[Any] = batches[0]
        kinds = {isinstance(batch.values, Tensor) for batch in batches}
        if len(kinds) > 1:
            raise TypeError("batches must all hold NumPy arrays or all torch tensors; see numpy() and torch().")
        for name in ("shape", "dimension", "scale"):
            if len(different := {getattr(batch, name) for batch in batches}) > 1:
                raise ValueError(f"batches must have one {name}; got {', '.join(map(str, sorted(different)))}.")
        if len({batch.indices is None for batch in batches}) > 1:
            raise ValueError("either all batches must have indices or none.")
        join: Any = torch.cat if isinstance(first.values, Tensor) else np.concatenate
        offsets: list[Any] = [first.offsets[:1]]
        points = 0
        for batch in batches:
            offsets.append(batch.offsets[1:] + points)
            points += len(batch.values)
        return cls(
            join([batch.values for batch in batches]),
            join(offsets),
            (len(batches), *first.shape),
            indices=None if first.indices is None else join([batch.indices for batch in batches]),
            dimension=first.dimension,
            scale=first.scale,
        )

    def to_list(self) -> list[Array]:
        """The diagrams one by one, each (k, 2), views of ``values``."""
        values: Any = self.values
        return [values[low:high] for low, high in itertools.pairwise(self.offsets.tolist())]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, position: int | tuple[int, ...]) -> Array: ...  # type: ignore[overload-overlap]
    @overload
    def __getitem__(self, position: slice | tuple[int | slice, ...]) -> "Diagrams[Array]": ...
    def __getitem__(self, position: Any) -> Any:
        """One diagram (k, 2), by its number in C order or by its position in the batch shape; Diagrams for slices."""
        if isinstance(position, tuple):
            if len(position) > len(self.shape):
                raise IndexError(f"there is no position {position} in the batch shape {self.shape}.")
            taken = np.arange(len(self)).reshape(self.shape)[position]
            if taken.ndim or any(isinstance(index, slice) for index in position):
                return self._taken(taken)
            number = int(taken)
        elif isinstance(position, slice):
            return self._taken(np.arange(len(self))[position])
        else:
            number = position + len(self) if position < 0 else position
        if not 0 <= number < len(self):
            raise IndexError(f"there is no diagram {position} among {len(self)}.")
        diagram: Array = self.values[int(self.offsets[number]) : int(self.offsets[number + 1])]
        return diagram

    def _taken(self, numbers: NDArray[np.int64]) -> "Diagrams[Array]":
        """The diagrams with these numbers, in the shape of ``numbers``."""
        bounds = self.offsets.cpu().numpy() if isinstance(self.offsets, Tensor) else self.offsets
        lengths = np.diff(bounds)[numbers.reshape(-1)]
        offsets: Any = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        points: Any = np.arange(offsets[-1]) + np.repeat(bounds[:-1][numbers.reshape(-1)] - offsets[:-1], lengths)
        if isinstance(self.values, Tensor):
            offsets, points = (torch.from_numpy(array).to(self.values.device) for array in (offsets, points))
        return Diagrams(
            self.values[points],
            offsets,
            numbers.shape,
            indices=None if self.indices is None else self.indices[points],
            dimension=self.dimension,
            scale=self.scale,
        )

    def __iter__(self) -> Iterator[Array]:
        return iter(self.to_list())

    def __repr__(self) -> str:
        kind = "torch" if isinstance(self.values, Tensor) else "numpy"
        scale = f", scale={self.scale:g}" if self.scale != 1 else ""
        return (
            f"Diagrams({len(self)} diagrams, {len(self.values)} points, shape={self.shape}, "
            f"dimension={self.dimension}, {kind} {str(self.values.dtype).removeprefix('torch.')}{scale})"
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
        """(P,) lifetimes, the distance of death from birth, never negative, in the units and dtype of ``values``."""
        births, deaths = self.births, self.deaths
        # Not abs(): the difference of 8-bit levels would wrap around.
        lengths: Array = _library(births).where(deaths > births, deaths - births, births - deaths)
        return lengths

    @property
    def diagram_index(self) -> Array:
        """(P,) int64, the number of the diagram to which each point belongs."""
        counts: Any = self.offsets[1:] - self.offsets[:-1]
        index: Any = np.arange(len(self))
        if isinstance(counts, Tensor):
            index = torch.from_numpy(index).to(counts.device)
        result: Array = index.repeat_interleave(counts) if isinstance(counts, Tensor) else index.repeat(counts)
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
            scale=self.scale,
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
        """Let the classes that never die end at ``death``, in the units of ``values``; their death index stays -1.

        In superlevel diagrams these end at the least value that they are to be followed to. Births, and deaths that are
        NaN, stay as they are.

        Raises:
            TypeError: if ``death`` is no number.
            ValueError: if it is not finite.
        """
        death = checked_number("death", death)
        library: Any = _library(self.values)
        never = library.isinf(self.values)
        never[:, 0] = False
        values: Any = self.values
        if _is_floating(values) and abs(death) > float(library.finfo(values.dtype).max):
            raise ValueError(f"death must be finite in {values.dtype}; got {death:g}.")
        if isinstance(values, Tensor):
            values = values.masked_fill(never, death) if values.is_floating_point() else values
        elif never.any():
            values = np.where(never, values.dtype.type(death), values)
        return Diagrams(
            values, self.offsets, self.shape, indices=self.indices, dimension=self.dimension, scale=self.scale
        )

    def rescaled(self) -> "Diagrams[Array]":
        """The same diagrams with a scale of 1: ``values / scale``, floating point (8-bit levels: float32)."""
        values: Any = self.values
        if not _is_floating(values):
            values = values.float() if isinstance(values, Tensor) else values.astype(np.float32)
        if self.scale != 1:
            values = values / self.scale
        return Diagrams(values, self.offsets, self.shape, indices=self.indices, dimension=self.dimension, scale=1.0)

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
            scale=self.scale,
        )


def _from_pairs(diagram: Any, name: str) -> Any:
    """An array or a tensor as it is, a list or a tuple of pairs as a float64 array."""
    if isinstance(diagram, np.ndarray | Tensor):
        refuse_masked(diagram, name)
        return diagram
    if not isinstance(diagram, list | tuple):
        raise TypeError(f"{name} must be an array, a tensor or a list of pairs (k, 2); got {type(diagram).__name__}.")
    try:
        return np.asarray(diagram, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be made of pairs (birth, death) of numbers: {error}.") from error


def _plain(array: Any, name: str) -> Any:
    """A tensor as it is, an array in the byte order of this machine.

    Raises:
        TypeError: if it is neither, or masked.
    """
    if isinstance(array, Tensor):
        return array
    if not isinstance(array, np.ndarray):
        hint = " Diagrams.from_list takes lists of pairs." if name == "values" else ""
        raise TypeError(f"{name} must be a NumPy array or a torch tensor; got {type(array).__name__}.{hint}")
    refuse_masked(array, name)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _is_floating(array: Any) -> bool:
    return bool(array.is_floating_point() if isinstance(array, Tensor) else array.dtype.kind == "f")


def _collate(batch: Sequence[Diagrams[Any]], *, collate_fn_map: Any = None) -> Diagrams[Tensor]:  # noqa: ARG001
    return Diagrams.stack([diagrams.torch() for diagrams in batch])


# What torch's documentation of ``default_collate`` names for types of one's own.
default_collate_fn_map[Diagrams] = _collate


def _library(array: object) -> Any:
    """The module with ``where``, ``cumsum`` and ``isfinite`` for this kind of array."""
    return torch if isinstance(array, Tensor) else np
