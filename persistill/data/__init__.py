"""Sources of pictures, their three splits, augmentation, views and batches."""

from persistill.data.augment import augment
from persistill.data.loader import Loader
from persistill.data.normalisation import measure_normalisation
from persistill.data.pictures import MemoryPictures, Pictures, StreamedPictures
from persistill.data.reading import Splits
from persistill.data.sources import load
from persistill.data.splits import stratified

__all__ = [
    "Loader",
    "MemoryPictures",
    "Pictures",
    "Splits",
    "StreamedPictures",
    "augment",
    "load",
    "measure_normalisation",
    "stratified",
]
