"""Sources of pictures, their three splits, augmentation, views and batches."""

from persistill.data.augmentation import augment
from persistill.data.dataloader import Loader
from persistill.data.dataset import MemoryPictures, Pictures, StreamedPictures
from persistill.data.feature_cache import StoredFeatures, open_features, write_features
from persistill.data.normalization import measure_normalisation
from persistill.data.sources.registry import load
from persistill.data.splits import stratified
from persistill.data.splits_reader import Splits
from persistill.data.views.online import DrawnView
from persistill.data.views.persistence_image import (
    FittedPersistenceView,
    OpenView,
    PersistenceView,
    make_view,
    open_view,
)

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
