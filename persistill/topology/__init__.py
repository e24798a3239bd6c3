"""Persistent homology for arrays and tensors: batched, exact, with the indices that carry gradients."""

from persistill.topology.clouds import mst_lengths, rips_persistence
from persistill.topology.diagrams import Diagrams
from persistill.topology.images import cubical_persistence
from persistill.topology.persistence_image import PersistenceImages
from persistill.topology.pictures import persistence_images
from persistill.topology.signals import columns, rows, sublevel_persistence

__all__ = [
    "Diagrams",
    "PersistenceImages",
    "columns",
    "cubical_persistence",
    "mst_lengths",
    "persistence_images",
    "rips_persistence",
    "rows",
    "sublevel_persistence",
]
