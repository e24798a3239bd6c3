"""Persistent homology for arrays and tensors: batched, exact, with the indices that carry gradients.

Diagrams come from ``signals``, ``images`` (cubical complexes) and ``clouds`` (Vietoris-Rips) into one container,
``diagrams``, with other libraries' ``layouts``. They become persistence images (``persistence_image`` by integrals,
``pictures`` straight from pictures, ``point_images`` at points), functions (``tents``, ``curves``), numbers
(``summaries``) and distances (``sliced``, ``matchings``); ``figures`` draws for people. Under these lie ``_kernels``
(compiled, for the CPU), ``_triton`` (for a GPU) and ``_reference`` (plain, for readers and tests), and what they share:
``_batches`` (checks, rectangles of points), ``_tables`` (profiles of Gaussians), ``_gradients`` (images that carry
gradients on the CPU), ``_threads``, ``_devices`` and ``_compiling``.
"""

from pathlib import Path

from persistill.topology._compiling import announce_compilation, drop_stale_kernels
from persistill.topology.clouds import mst_lengths, rips_persistence
from persistill.topology.curves import betti_curves, euler_curves
from persistill.topology.diagrams import Diagrams
from persistill.topology.images import cubical_persistence
from persistill.topology.layouts import (
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
from persistill.topology.matchings import bottleneck, wasserstein
from persistill.topology.persistence_image import PersistenceImages
from persistill.topology.pictures import persistence_images
from persistill.topology.point_images import point_persistence_images
from persistill.topology.signals import columns, rows, serpentine, sublevel_persistence
from persistill.topology.sliced import sliced_wasserstein
from persistill.topology.summaries import persistence_entropy, sorted_lifetimes, total_persistence
from persistill.topology.tents import landscapes, silhouettes

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
drop_stale_kernels(Path(__file__).parent / "_kernels")
