"""Persistent homology for arrays and tensors: batched, exact, with the indices that carry gradients.

Diagrams come from ``signals``, ``images`` (cubical complexes) and ``clouds`` (Vietoris-Rips) into one container,
``diagrams``, with other libraries' ``layouts``. They become persistence images (``persistence_image`` by integrals,
``images`` straight from images, ``point_images`` at points), functions (``tents``, ``curves``), numbers
(``summaries``) and distances (``sliced``, ``matchings``); ``figures`` draws for people. Under these lie ``_numba``
(compiled, for the CPU), ``_triton`` (for a GPU) and ``_reference`` (plain, for readers and tests), and what they share:
``_batches`` (checks, rectangles of points), ``_tables`` (profiles of Gaussians), ``_gradients`` (images that carry
gradients on the CPU), ``_threads``, ``_devices`` and ``_compiling``.
"""

from pathlib import Path

from persistill.topology._jit_cache import announce_compilation, drop_stale_kernels
from persistill.topology.diagrams import Diagrams
from persistill.topology.distances.sliced_wasserstein import sliced_wasserstein
from persistill.topology.distances.wasserstein import bottleneck, wasserstein
from persistill.topology.homology.cubical import cubical_persistence
from persistill.topology.homology.sublevel_1d import columns, rows, serpentine, sublevel_persistence
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
from persistill.topology.persistence_image.config import PersistenceImages
from persistill.topology.persistence_image.from_images import persistence_images
from persistill.topology.persistence_image.gaussian_density import point_persistence_images
from persistill.topology.vectorization.betti_curves import betti_curves, euler_curves
from persistill.topology.vectorization.landscapes import landscapes, silhouettes
from persistill.topology.vectorization.statistics import persistence_entropy, sorted_lifetimes, total_persistence

__all__ = [
    "Diagrams",
    "PersistenceImages",
    "betti_curves",
    "bottleneck",
    "columns",
    "cubical_persistence",
    "euler_curves",
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

announce_compilation()
drop_stale_kernels(Path(__file__).parent / "_numba")
