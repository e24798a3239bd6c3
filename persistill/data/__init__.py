"""Sources of images, their three splits, augmentation, views and batches."""

from persistill.data.augmentation import AUGMENTATIONS, augment
from persistill.data.dataloader import Loader
from persistill.data.dataset import (
    ImageDataset,
    InMemoryDataset,
    InMemoryMaskDataset,
    StreamedDataset,
    StreamedMaskDataset,
)
from persistill.data.detection.augmentation import BOX_AUGMENTATIONS, BoxAugmentation, augment_boxes
from persistill.data.detection.check_objects import ObjectCounts
from persistill.data.detection.dataset import InMemoryBoxDataset, StreamedBoxDataset
from persistill.data.detection.load import BoxSplits, load_boxes, open_box_source
from persistill.data.feature_cache import StoredFeatures, open_features, write_features
from persistill.data.normalization import measure_normalization
from persistill.data.resized_cache import keep_resized
from persistill.data.sources.arrays import ArrayRows
from persistill.data.sources.base import MaskSource, Source
from persistill.data.sources.registry import SOURCES, load
from persistill.data.splits import stratified
from persistill.data.splits_reader import Splits
from persistill.data.views.base import View
from persistill.data.views.betti_curves import BettiCurveView
from persistill.data.views.cubical import CubicalView
from persistill.data.views.image import IMAGE, ImageView, is_stored, with_image
from persistill.data.views.landscapes import LandscapeView
from persistill.data.views.online import OnlineView
from persistill.data.views.persistence_image import FittedPersistenceView, PersistenceView
from persistill.data.views.registry import VIEWS
from persistill.data.views.storage import OpenView, make_view, open_view

__all__ = [
    "AUGMENTATIONS",
    "BOX_AUGMENTATIONS",
    "IMAGE",
    "SOURCES",
    "VIEWS",
    "ArrayRows",
    "BettiCurveView",
    "BoxAugmentation",
    "BoxSplits",
    "CubicalView",
    "FittedPersistenceView",
    "ImageDataset",
    "ImageView",
    "InMemoryBoxDataset",
    "InMemoryDataset",
    "InMemoryMaskDataset",
    "LandscapeView",
    "Loader",
    "MaskSource",
    "ObjectCounts",
    "OnlineView",
    "OpenView",
    "PersistenceView",
    "Source",
    "Splits",
    "StoredFeatures",
    "StreamedBoxDataset",
    "StreamedDataset",
    "StreamedMaskDataset",
    "View",
    "augment",
    "augment_boxes",
    "is_stored",
    "keep_resized",
    "load",
    "load_boxes",
    "make_view",
    "measure_normalization",
    "open_box_source",
    "open_features",
    "open_view",
    "stratified",
    "with_image",
    "write_features",
]
