"""Diagrams from and to the layouts of other libraries, and files.

Elsewhere the diagrams of all homological dimensions of one complex lie together; a ``Diagrams`` holds one dimension of
a whole batch. Here a sequence of ``Diagrams``, one for each dimension and all of one shape, stands for what the others
hold; batches are flattened in C order. Other libraries know no scale: levels of 8-bit diagrams leave as level / 255.
"""

import itertools
import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from persistill.topology._checks import checked_dtype, on_cpu
from persistill.topology.diagrams import Diagrams
from persistill.topology.vectorization._batching import require_one_batch

GudhiPersistence = list[tuple[int, tuple[float, float]]]
_KEYS = ("values", "offsets", "shape", "dimension")


def to_gudhi(diagrams: Sequence[Diagrams[Any]]) -> list[GudhiPersistence]:
    """The lists that GUDHI's ``SimplexTree.persistence()`` returns, one for each complex.

    Args:
        diagrams: one for each dimension, all of one shape.

    Returns:
        For each complex a list of (dimension, (birth, death)), higher dimensions first and, within a dimension,
        longer bars first, as GUDHI sorts them.

    Raises:
        TypeError: if these are no Diagrams.
        ValueError: if the dimensions are not different or the shapes not equal.
    """
    result: list[GudhiPersistence] = [[] for _ in range(require_one_batch(diagrams))]
    for one in sorted(diagrams, key=lambda one: -one.dimension):
        plain = one.numpy().rescaled()
        for bars, points, lengths in zip(result, plain, _split(plain.persistences, plain), strict=True):
            for birth, death in points[np.argsort(-lengths, kind="stable")].tolist():
                bars.append((one.dimension, (birth, death)))
    return result


def from_gudhi(
    persistences: Iterable[Iterable[tuple[int, tuple[float, float]]]], dimensions: Sequence[int] = (0, 1)
) -> list[Diagrams[NDArray[Any]]]:
    """Diagrams from the lists that GUDHI's ``SimplexTree.persistence()`` returns, one for each complex.

    Args:
        persistences: for each complex a list of (dimension, (birth, death)) in any order.
        dimensions: which dimensions to take.

    Returns:
        One float64 ``Diagrams`` of shape (n,) for each of ``dimensions``.

    Raises:
        ValueError: if an entry has another form (its place is named).
    """
    found: list[list[list[tuple[float, float]]]] = [[] for _ in dimensions]
    for number, bars in enumerate(persistences):
        for kept in found:
            kept.append([])
        for place, bar in enumerate(bars):
            try:
                dimension, (birth, death) = bar
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"persistences[{number}][{place}] must be (dimension, (birth, death)); got {bar!r}."
                ) from error
            if dimension in dimensions:
                found[dimensions.index(dimension)][number].append((float(birth), float(death)))
    return [_from_lists(kept, dimension) for kept, dimension in zip(found, dimensions, strict=True)]


def to_nested(diagrams: Sequence[Diagrams[Any]]) -> list[list[NDArray[Any]]]:
    """Nested lists as ``gudhi.sklearn`` holds them: ``result[i][k]`` is (m, 2), complex i, k-th dimension.

    What ripser calls ``dgms`` is one of the inner lists.

    Args:
        diagrams: one for each dimension, all of one shape; their order is kept.

    Raises:
        TypeError: if these are no Diagrams.
        ValueError: if the dimensions are not different or the shapes not equal.
    """
    require_one_batch(diagrams)
    return [list(parts) for parts in zip(*(one.numpy().rescaled() for one in diagrams), strict=True)]


def from_nested(
    nested: Sequence[Sequence[NDArray[Any]]] | Sequence[NDArray[Any]], dimensions: Sequence[int] | None = None
) -> list[Diagrams[NDArray[Any]]]:
    """Diagrams from nested lists, as ``gudhi.sklearn``'s ``fit_transform`` and ripser's ``dgms`` hold them.

    Args:
        nested: ``nested[i][k]`` is (m, 2), the diagram of complex i in the k-th dimension. For a single complex,
            ``nested[k]`` may be (m, 2), as in ripser's ``dgms``.
        dimensions: which dimensions these are; None for 0, 1, 2, ...

    Returns:
        One ``Diagrams`` of shape (n,) for each dimension.

    Raises:
        ValueError: if there are no complexes, or the numbers of dimensions do not agree (the complex is named).
    """
    if len(nested) == 0:
        raise ValueError("nested is empty: what dimensions and what dtype to make of it is unknown.")
    complexes: Sequence[Any] = [nested] if isinstance(nested[0], np.ndarray) and nested[0].ndim == 2 else nested
    wanted = tuple(range(len(complexes[0]))) if dimensions is None else tuple(dimensions)
    for number, parts in enumerate(complexes):
        if len(parts) != len(wanted):
            raise ValueError(f"nested[{number}] must hold {len(wanted)} diagrams {wanted}; it holds {len(parts)}.")
    return [
        Diagrams.from_list([_plain(parts[place]) for parts in complexes], dimension=dimension)
        for place, dimension in enumerate(wanted)
    ]


def to_giotto(diagrams: Sequence[Diagrams[Any]]) -> NDArray[Any]:
    """giotto-tda's array of triples (birth, death, dimension), filled up with points on the diagonal.

    Every dimension takes as many places as its largest diagram has points, at least one; places that are left hold
    (v, v, dimension) with v the lowest birth of that dimension in the batch, as giotto-tda fills them.

    Args:
        diagrams: one for each dimension, all of one shape.

    Returns:
        (n, points, 3), dimensions in rising order, float64, or float32 if all diagrams are float32 or 8-bit.

    Raises:
        TypeError: if these are no Diagrams.
        ValueError: if the dimensions are not different or the shapes not equal, or if a class never dies: giotto-tda's
            arrays hold no infinities.
    """
    count = require_one_batch(diagrams)
    parts = []
    for one in sorted(diagrams, key=lambda one: one.dimension):
        plain = one.numpy().rescaled()
        if not np.isfinite(plain.values).all():
            point = int(np.flatnonzero(~np.isfinite(plain.values).all(1))[0])
            raise ValueError(
                f"point {point} of dimension {one.dimension} is {plain.values[point].tolist()}, and giotto-tda's "
                "arrays hold finite numbers; drop classes that never die with finite(), or let them end with cut()."
            )
        counts = np.diff(plain.offsets)
        kind = np.float32 if plain.values.dtype == np.float32 else np.float64
        part = np.empty((count, max(1, counts.max(initial=0)), 3), kind)
        part[..., :2] = plain.births.min(initial=math.inf) if len(plain.values) else 0
        part[..., 2] = one.dimension
        places = np.arange(len(plain.values)) - np.repeat(plain.offsets[:-1], counts)
        part[plain.diagram_index, places, :2] = plain.values
        parts.append(part)
    return np.concatenate(parts, 1)


def _plain(part: Any) -> NDArray[Any]:
    if not isinstance(part, Tensor):
        return np.asarray(part)
    checked_dtype(part, "diagrams", ("uint8", "float32", "float64"))
    return on_cpu(part)


def from_giotto(triples: NDArray[Any]) -> list[Diagrams[NDArray[Any]]]:
    """Diagrams from giotto-tda's array of triples; points on the diagonal, which only fill it up, are left out.

    Args:
        triples: (n, points, 3), (birth, death, dimension).

    Returns:
        One ``Diagrams`` of shape (n,) for each dimension that occurs, in rising order, in the array's dtype.

    Raises:
        ValueError: if the array has another shape, or a dimension is no whole number (its place is named).
    """
    if not isinstance(triples, np.ndarray) or triples.dtype.kind not in "fiu":
        raise TypeError(f"triples must be a NumPy array of numbers; got {type(triples).__name__}.")
    if triples.ndim != 3 or triples.shape[2] != 3:
        raise ValueError(f"triples must have shape (n, points, 3); got {triples.shape}.")
    labels = triples[..., 2]
    odd = ~np.isfinite(labels) | (labels != np.floor(labels)) | (labels < 0)
    if odd.any():
        where = tuple(np.argwhere(odd)[0].tolist())
        raise ValueError(f"triples[{where[0]}, {where[1]}, 2] must be a dimension 0, 1, ...; got {labels[where]}.")
    lasting = triples[..., 0] != triples[..., 1]
    result = []
    for label in np.unique(labels):
        taken = lasting & (labels == label)
        offsets = np.concatenate([[0], np.cumsum(taken.sum(1))]).astype(np.int64)
        result.append(Diagrams(triples[taken][:, :2], offsets, dimension=int(label)))
    return result


def to_arrays(diagrams: Diagrams[Any]) -> dict[str, NDArray[Any]]:
    """Plain arrays that hold everything: values, offsets, shape, dimension, scale and, if there are any, indices."""
    plain = diagrams.numpy()
    arrays = {
        "values": plain.values,
        "offsets": plain.offsets,
        "shape": np.array(plain.shape, np.int64),
        "dimension": np.array(plain.dimension, np.int64),
        "scale": np.array(plain.scale),
    }
    return arrays if plain.indices is None else arrays | {"indices": plain.indices}


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Diagrams[NDArray[Any]]:
    """The diagrams that ``to_arrays`` took apart. Without "scale", as in older files, it follows from the dtype.

    Raises:
        ValueError: if an array is missing or they do not fit together.
    """
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise ValueError(f"arrays must hold {', '.join(_KEYS)}; missing: {', '.join(missing)}.")
    return Diagrams(
        arrays["values"],
        arrays["offsets"],
        arrays["shape"].tolist(),
        indices=arrays.get("indices"),
        dimension=int(arrays["dimension"]),
        scale=float(arrays["scale"]) if "scale" in arrays else None,
    )


def save_diagrams(file: str | os.PathLike[str] | IO[bytes], diagrams: Diagrams[Any]) -> None:
    """Write diagrams, with their shape, dimension and indices, as an uncompressed npz file.

    An existing file is overwritten in place: where a crash must not leave half a file, write to another name and
    rename. Gradients are not kept, and tensors come back as arrays.

    Args:
        file: a path (used as it is, whatever its ending) or a file open for writing bytes.
        diagrams: what to write.
    """
    arrays: dict[str, Any] = {**to_arrays(diagrams)}
    with _opened(file, "wb") as opened:
        np.savez(opened, **arrays)


def load_diagrams(file: str | os.PathLike[str] | IO[bytes]) -> Diagrams[NDArray[Any]]:
    """Read diagrams that ``save_diagrams`` wrote; nothing in the file can run code.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it holds something else or is damaged.
    """
    with _opened(file, "rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as arrays:
                return from_arrays(dict(arrays))
        except (zipfile.BadZipFile, EOFError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{file} holds no diagrams as save_diagrams writes them: {error}") from error


def _opened(file: str | os.PathLike[str] | IO[bytes], mode: str) -> AbstractContextManager[IO[bytes]]:
    # NumPy would append .npz to a path when it writes, and leave a damaged file open when it reads.
    return Path(file).open(mode) if isinstance(file, str | os.PathLike) else nullcontext(file)


def _split(array: NDArray[Any], diagrams: Diagrams[Any]) -> list[NDArray[Any]]:
    return [array[low:high] for low, high in itertools.pairwise(diagrams.offsets.tolist())]


def _from_lists(lists: list[list[tuple[float, float]]], dimension: int) -> Diagrams[NDArray[Any]]:
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    flat: NDArray[Any] = np.array([bar for bars in lists for bar in bars], np.float64).reshape(-1, 2)
    return Diagrams(flat, offsets, dimension=dimension)
