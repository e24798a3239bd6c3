"""The engine against slow, plain implementations of the same definitions, on this machine, in seconds."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from persistill.topology._reference import persistence_image, vietoris_rips_h0
from persistill.topology._reference.cubical import cubical_pairs
from persistill.topology._reference.sublevel_1d import sublevel_pairs
from persistill.topology.diagrams import Diagrams
from persistill.topology.distances.wasserstein import bottleneck
from persistill.topology.homology.cubical import cubical_persistence
from persistill.topology.homology.sublevel_1d import sublevel_persistence
from persistill.topology.homology.vietoris_rips import mst_lengths
from persistill.topology.persistence_image.config import PersistenceImageConfig
from persistill.topology.persistence_image.from_diagrams import persistence_images

_SEED = 0
_ROUNDING = 1e-5


class EngineCheck(NamedTuple):
    """One function of the engine, compared.

    Attributes:
        function: its name.
        inputs: how many were compared.
        problem: the first difference, in words; None if there was none.
    """

    function: str
    inputs: int
    problem: str | None


def self_check() -> Iterator[EngineCheck]:
    """Compare functions of the engine with their oracles on small random inputs, the same each time.

    Kernels are compiled where they have not been, which takes about ten seconds.
    """
    for function, compare in (
        ("sublevel_persistence", _signals),
        ("cubical_persistence", _images),
        ("mst_lengths", _clouds),
        ("persistence_images", _persistence_images),
        ("bottleneck", _distances),
    ):
        yield _checked(function, compare)


def _checked(function: str, compare: Callable[[np.random.Generator], Iterator[bool]]) -> EngineCheck:
    count = 0
    try:
        for count, same in enumerate(compare(np.random.default_rng(_SEED)), start=1):
            if not same:
                return EngineCheck(function, count, f"input {count} gives something else than the definition says")
    except Exception as error:  # noqa: BLE001 - whatever is wrong with this machine is to be told
        return EngineCheck(function, count, f"{type(error).__name__}: {error}")
    return EngineCheck(function, count, None)


def _bars(diagrams: Diagrams[Any], number: int) -> set[tuple[int, int]]:
    indices: Any = diagrams.indices
    return set(map(tuple, indices[diagrams.offsets[number] : diagrams.offsets[number + 1]].tolist()))


def _signals(random: np.random.Generator) -> Iterator[bool]:
    for dtype in (np.uint8, np.float32, np.float64):
        batch = random.integers(0, 9, (40, 33)).astype(dtype)
        found = sublevel_persistence(batch, essential=True)
        for number, signal in enumerate(batch):
            values = signal.tolist()
            expected = {(b, d) for b, d in sublevel_pairs(values) if d < 0 or values[d] != values[b]}
            yield _bars(found, number) == expected


def _images(random: np.random.Generator) -> Iterator[bool]:
    for dtype in (np.uint8, np.float32):
        batch = random.integers(0, 9, (8, 7, 6)).astype(dtype)
        found = cubical_persistence(batch, essential=True)
        for number, image in enumerate(batch):
            expected, flat = cubical_pairs(image.tolist(), construction="top_cells"), image.ravel()
            yield all(
                _bars(found[dimension], number)
                == {pair for pair in expected[dimension] if pair[1] < 0 or flat[pair[0]] != flat[pair[1]]}
                for dimension in (0, 1)
            )


def _clouds(random: np.random.Generator) -> Iterator[bool]:
    for width in (1, 3, 64):
        clouds = random.random((10, 20, width)).astype(np.float32)
        expected = vietoris_rips_h0.mst_lengths(torch.from_numpy(clouds), distances=False).numpy()
        for found, right in zip(mst_lengths(clouds), expected, strict=True):
            yield _close(found, right)


def _persistence_images(random: np.random.Generator) -> Iterator[bool]:
    points = np.sort(random.random((20, 9, 2)), axis=2)
    diagrams = Diagrams.from_list(list(points))
    for weight in ("linear", "constant"):
        config = PersistenceImageConfig((6, 5), 0.1, (0.0, 1.0), (0.0, 1.0), weight=weight, grid="tiled", scaling="max")
        expected = persistence_image.persistence_images(
            torch.from_numpy(points),
            columns=_tensors(config.edges("births")),
            rows=_tensors(config.edges("persistences")),
            bandwidth=config.bandwidth,
            min_persistence=config.min_persistence,
            linear=weight == "linear",
            scaling=config.scaling,
            scale=config.scale,
        ).numpy()
        for found, right in zip(persistence_images(diagrams, config), expected, strict=True):
            yield _close(found, right)


def _distances(random: np.random.Generator) -> Iterator[bool]:
    for points in np.sort(random.random((20, 6, 2)), axis=2):
        moved = points + random.uniform(-1e-3, 1e-3)  # by less than half of what would change the pairs
        far = abs(moved - points).max()
        alive = (points[:, 1] - points[:, 0]) / 2 > far
        one, other = Diagrams.from_list([points[alive]]), Diagrams.from_list([moved[alive]])
        least = float(bottleneck(one, other)[0])
        yield least <= far + _ROUNDING and float(bottleneck(one, one)[0]) == 0


def _tensors(edges: tuple[NDArray[Any], NDArray[Any]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(edges[0]), torch.from_numpy(edges[1])


def _close(found: NDArray[Any], right: NDArray[Any]) -> bool:
    return bool(np.allclose(found, right, rtol=_ROUNDING, atol=_ROUNDING))
