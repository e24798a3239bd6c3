"""Functions of the topology engine with arguments that they were not made for: an answer, or a sentence about it."""

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persistill import topology
from persistill.topology import Diagrams, PersistenceImageConfig

_NUMBERS: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 2, 5, 10**400, 2**63, 0.5, -0.5, 1e-320, 1e308, -1e308),
    *(float("nan"), float("inf"), -float("inf"), "1", "", b"1", 1j, Fraction(1, 3)),
    *(np.float32(0.5), np.int64(3), np.uint8(2), np.float64("nan"), np.bool_(True), torch.tensor(2), [1], (0, 1), {}),
)
_ARRAYS: tuple[Any, ...] = (
    *(np.zeros(shape, np.float32) for shape in ((), (0,), (1,), (5,), (2, 0), (0, 3), (2, 3), (2, 3, 4), (1, 2, 3, 4))),
    *(np.ones((4, 4), dtype) for dtype in ("u1", "i8", "f2", ">f4", "<f8", "?", "c8", "U3", "O", "M8[s]")),
    *(np.full((2, 3, 3), value, np.float64) for value in (np.nan, np.inf, 1e308, 1e-320, -1e308)),
    np.ma.masked_array(np.zeros((3, 3)), mask=True),
    np.arange(48.0).reshape(4, 12)[:, ::2],
    np.arange(24.0).reshape(2, 3, 4).T,
    *(
        torch.zeros(2, 3, 4),
        torch.zeros(0, 2),
        torch.ones(3, 3, dtype=torch.bfloat16),
        torch.zeros(3, 3, dtype=torch.bool),
    ),
    *(torch.ones(4, 4, requires_grad=True), torch.eye(3).to_sparse(), torch.zeros(2, 2, device="meta")),
    *([[0.0, 1.0]], (1, 2), "image.png", None, 3, object()),
)


def _diagrams(draw: random.Random) -> Any:
    points = np.random.default_rng(draw.getrandbits(16)).random((draw.randint(0, 5), 2))
    kind = draw.randrange(8)
    if kind == 0:
        points = points * draw.choice((1e308, 1e-320, -1, np.nan, np.inf))
    dtype = draw.choice((np.float64, np.float32, np.uint8))
    found = Diagrams(points.astype(dtype) if kind else np.nan_to_num(points), np.array([0, len(points)]))
    return draw.choice((found, found, found, found.torch(), [found], list(found), points, None))


def _number(draw: random.Random) -> Any:
    return draw.choice(_NUMBERS)


def _array(draw: random.Random) -> Any:
    return draw.choice(_ARRAYS)


def _config(draw: random.Random) -> Any:
    if draw.random() < 0.3:
        return draw.choice((None, {}, "tgd", PersistenceImageConfig))
    return PersistenceImageConfig((draw.randint(1, 4), 3), draw.choice((1e-3, 1e-30, 1e30)), (0, 1), (0, 1))


def _grid(draw: random.Random) -> Any:
    return draw.choice(([0.0, 0.5, 1.0], [1, 0], [], [np.nan], np.linspace(0, 1, 5), torch.linspace(0, 1, 5), None, 3))


_CALLS: dict[str, tuple[Any, tuple[Any, ...], tuple[str, ...]]] = {
    "sublevel_persistence": (topology.sublevel_persistence, (_array,), ("min_persistence", "superlevel", "essential")),
    "cubical_persistence": (topology.cubical_persistence, (_array,), ("dimensions", "min_persistence", "construction")),
    "mst_lengths": (topology.mst_lengths, (_array,), ("distances", "threads")),
    "rips_persistence": (topology.rips_persistence, (_array,), ("dimension", "threshold", "distances")),
    "scan_persistence_images": (topology.scan_persistence_images, (_array, _config), ("scans", "threads")),
    "persistence_images": (topology.persistence_images, (_diagrams, _config), ("threads",)),
    "fit_persistence_images": (topology.fit_persistence_images, (_diagrams,), ("quantile", "pixels", "bandwidth")),
    "betti_curves": (topology.betti_curves, (_diagrams, _grid), ("mean", "threads")),
    "euler_curves": (topology.euler_curves, (_diagrams, _grid), ("mean",)),
    "landscapes": (topology.landscapes, (_diagrams, _grid), ("levels", "threads")),
    "silhouettes": (topology.silhouettes, (_diagrams, _grid), ("power",)),
    "total_persistence": (topology.total_persistence, (_diagrams,), ("power",)),
    "persistence_entropy": (topology.persistence_entropy, (_diagrams,), ()),
    "sorted_lifetimes": (topology.sorted_lifetimes, (_diagrams, _number), ()),
    "wasserstein": (topology.wasserstein, (_diagrams, _diagrams), ("order", "ground", "threads")),
    "bottleneck": (topology.bottleneck, (_diagrams, _diagrams), ("threads",)),
    "sliced_wasserstein": (topology.sliced_wasserstein, (_diagrams, _diagrams), ("directions",)),
    "Diagrams": (Diagrams, (_array, _array), ()),
    "from_list": (Diagrams.from_list, (_array,), ()),
    "from_nested": (topology.from_nested, (_array,), ()),
    "from_giotto": (topology.from_giotto, (_array,), ()),
    "to_giotto": (topology.to_giotto, (_diagrams,), ()),
    "to_gudhi": (topology.to_gudhi, (_diagrams,), ()),
    "cut": (
        lambda diagrams, death: diagrams.cut(death) if isinstance(diagrams, Diagrams) else None,
        (_diagrams, _number),
        (),
    ),
    "PersistenceImageConfig": (
        PersistenceImageConfig,
        (_number, _number, _number, _number),
        ("min_persistence", "scale"),
    ),
}


def arguments(draw: random.Random, place: Path) -> int:
    """Call one function. What it may raise is what its page says: TypeError, ValueError, IndexError, MemoryError."""
    name = draw.choice(list(_CALLS))
    function, positional, keywords = _CALLS[name]
    given = [make(draw) for make in positional]
    options = {keyword: _number(draw) for keyword in keywords if draw.random() < 0.4}
    try:
        function(*given, **options)
    except (TypeError, ValueError, IndexError, MemoryError) as error:
        said = str(error)
    else:
        return 1
    # A message of ours names an argument; these come from the middle of a function.
    leaked = [words for words in ("not supported between", "has no attribute", "unexpected keyword") if words in said]
    assert said, (name, given, options)
    assert not leaked, (name, given, options, said)
    return 1


CASES = {"arguments": arguments}
