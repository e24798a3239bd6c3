"""Persistent homology for arrays and tensors: batched, exact, with the indices that carry gradients.

* ``homology``: the diagrams of 1-D signals, of images (cubical complexes) and of point clouds (Vietoris-Rips).
* ``diagrams``: the container that holds those of a whole batch. ``io`` converts it from and to other libraries' layouts
  and files; ``stored`` reads what ``persistill topology`` wrote.
* ``scans``: orders in which images are read as signals.
* ``persistence_image``: the settings and how they are fitted, persistence images of diagrams, persistence images
  straight from images, and those that are sums of densities at points, as GUDHI's are.
* ``vectorization``: landscapes, Betti curves, and statistics of diagrams.
* ``distances``: Wasserstein, bottleneck and sliced Wasserstein.
* ``plotting``: figures for people.

Under these lie the same computations three times: ``_numba`` (compiled, for the CPU), ``_triton`` (for a GPU) and
``_reference`` (plain, for readers and tests); ``_dispatch`` chooses. ``_checks`` of arguments and ``_parallel`` blocks
of work are shared by all.

A name is imported when it is asked for the first time: whoever wants the declared fields alone, as ``--help`` does,
waits for no library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persistill.topology.diagrams import Diagrams
    from persistill.topology.distances.sliced_wasserstein import sliced_wasserstein
    from persistill.topology.distances.wasserstein import bottleneck, wasserstein
    from persistill.topology.homology.cubical import cubical_persistence
    from persistill.topology.homology.sublevel_1d import sublevel_persistence
    from persistill.topology.homology.vietoris_rips import mst_lengths, rips_persistence
    from persistill.topology.io import (
        from_arrays,
        from_giotto,
        from_gudhi,
        from_nested,
        load_diagrams,
        save_diagrams,
        to_arrays,
        to_giotto,
        to_gudhi,
        to_nested,
    )
    from persistill.topology.persistence_image.config import PersistenceImageConfig
    from persistill.topology.persistence_image.fit import fit_persistence_images
    from persistill.topology.persistence_image.from_diagrams import persistence_images
    from persistill.topology.persistence_image.from_images import scan_persistence_images
    from persistill.topology.persistence_image.gaussian_density import point_persistence_images
    from persistill.topology.scans import columns, rows, serpentine
    from persistill.topology.stored import StoredArray, StoredDiagrams
    from persistill.topology.vectorization.betti_curves import betti_curves, euler_curves
    from persistill.topology.vectorization.landscapes import landscapes, silhouettes
    from persistill.topology.vectorization.statistics import persistence_entropy, sorted_lifetimes, total_persistence

__all__ = [
    "Diagrams",
    "PersistenceImageConfig",
    "StoredArray",
    "StoredDiagrams",
    "betti_curves",
    "bottleneck",
    "columns",
    "cubical_persistence",
    "euler_curves",
    "fit_persistence_images",
    "from_arrays",
    "from_giotto",
    "from_gudhi",
    "from_nested",
    "landscapes",
    "load_diagrams",
    "mst_lengths",
    "persistence_entropy",
    "persistence_images",
    "point_persistence_images",
    "rips_persistence",
    "rows",
    "save_diagrams",
    "scan_persistence_images",
    "serpentine",
    "silhouettes",
    "sliced_wasserstein",
    "sorted_lifetimes",
    "sublevel_persistence",
    "to_arrays",
    "to_giotto",
    "to_gudhi",
    "to_nested",
    "total_persistence",
    "wasserstein",
]

_HOMES = {
    "Diagrams": "persistill.topology.diagrams",
    "PersistenceImageConfig": "persistill.topology.persistence_image.config",
    "StoredArray": "persistill.topology.stored",
    "StoredDiagrams": "persistill.topology.stored",
    "betti_curves": "persistill.topology.vectorization.betti_curves",
    "bottleneck": "persistill.topology.distances.wasserstein",
    "columns": "persistill.topology.scans",
    "cubical_persistence": "persistill.topology.homology.cubical",
    "euler_curves": "persistill.topology.vectorization.betti_curves",
    "fit_persistence_images": "persistill.topology.persistence_image.fit",
    "from_arrays": "persistill.topology.io",
    "from_giotto": "persistill.topology.io",
    "from_gudhi": "persistill.topology.io",
    "from_nested": "persistill.topology.io",
    "landscapes": "persistill.topology.vectorization.landscapes",
    "load_diagrams": "persistill.topology.io",
    "mst_lengths": "persistill.topology.homology.vietoris_rips",
    "persistence_entropy": "persistill.topology.vectorization.statistics",
    "persistence_images": "persistill.topology.persistence_image.from_diagrams",
    "point_persistence_images": "persistill.topology.persistence_image.gaussian_density",
    "rips_persistence": "persistill.topology.homology.vietoris_rips",
    "rows": "persistill.topology.scans",
    "save_diagrams": "persistill.topology.io",
    "scan_persistence_images": "persistill.topology.persistence_image.from_images",
    "serpentine": "persistill.topology.scans",
    "silhouettes": "persistill.topology.vectorization.landscapes",
    "sliced_wasserstein": "persistill.topology.distances.sliced_wasserstein",
    "sorted_lifetimes": "persistill.topology.vectorization.statistics",
    "sublevel_persistence": "persistill.topology.homology.sublevel_1d",
    "to_arrays": "persistill.topology.io",
    "to_giotto": "persistill.topology.io",
    "to_gudhi": "persistill.topology.io",
    "to_nested": "persistill.topology.io",
    "total_persistence": "persistill.topology.vectorization.statistics",
    "wasserstein": "persistill.topology.distances.wasserstein",
}
"""Name -> module in which it lies."""

if not TYPE_CHECKING:  # a type checker reads the imports above, and so knows which names there are not

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
