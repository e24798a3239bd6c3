"""Persistent homology for arrays and tensors: batched, exact, with the indices that carry gradients.

* ``homology``: the diagrams of 1-D signals, of images (cubical complexes) and of point clouds (Vietoris-Rips).
* ``diagrams``: the container that holds those of a whole batch. ``io`` converts it from and to other libraries' layouts
  and files.
* ``scans``: orders in which images are read as signals.
* ``persistence_image``: the settings and how they are fitted, persistence images of diagrams, persistence images
  straight from images, and those that are sums of densities at points, as GUDHI's are.
* ``vectorization``: landscapes, Betti curves, and statistics of diagrams.
* ``distances``: Wasserstein, bottleneck and sliced Wasserstein.
* ``plotting``: figures for people.

Under these lie the same computations three times: ``_numba`` (compiled, for the CPU), ``_triton`` (for a GPU) and
``_reference`` (plain, for readers and tests); ``_dispatch`` chooses. ``_checks`` of arguments and ``_parallel`` blocks
of work are shared by all.
"""

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
from persistill.topology.vectorization.betti_curves import betti_curves, euler_curves
from persistill.topology.vectorization.landscapes import landscapes, silhouettes
from persistill.topology.vectorization.statistics import persistence_entropy, sorted_lifetimes, total_persistence

__all__ = [
    "Diagrams",
    "PersistenceImageConfig",
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
