"""Sources of pictures, their three splits, augmentation, views and batches."""

from persistill.data.augment import augment
from persistill.data.drawn import DrawnView
from persistill.data.loader import Loader
from persistill.data.normalisation import measure_normalisation
from persistill.data.pictures import MemoryPictures, Pictures, StreamedPictures
from persistill.data.reading import Splits
from persistill.data.sources import load
from persistill.data.splits import stratified
from persistill.data.taught import StoredFeatures, open_features, write_features
from persistill.data.views import FittedPersistenceView, OpenView, PersistenceView, make_view, open_view

__all__ = [
    "DrawnView",
    "FittedPersistenceView",
    "Loader",
    "MemoryPictures",
    "OpenView",
    "PersistenceView",
    "Pictures",
    "Splits",
    "StoredFeatures",
    "StreamedPictures",
    "augment",
    "load",
    "make_view",
    "measure_normalisation",
    "open_features",
    "open_view",
    "stratified",
    "write_features",
]
