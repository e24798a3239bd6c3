"""Distillation of detectors: losses on the levels of feature pyramids and on dense heads.

They are not among those of ``persistill.losses``, which take the outputs of any network: these take those of detectors.
"""

from persistill.losses.detection.box_feature import BoxFeature, box_feature_difference
from persistill.losses.detection.dense_dist import DenseDIST, dense_relations
from persistill.losses.detection.dense_kd import DenseKD, dense_divergence
from persistill.losses.detection.fgd import FGD, focal_difference
from persistill.losses.detection.levels import foreground, match_levels
from persistill.losses.detection.mgd import MGD
from persistill.losses.detection.on_levels import OnLevels
from persistill.losses.detection.pkd import PKD, correlated_difference

__all__ = [
    "FGD",
    "MGD",
    "PKD",
    "BoxFeature",
    "DenseDIST",
    "DenseKD",
    "OnLevels",
    "box_feature_difference",
    "correlated_difference",
    "dense_divergence",
    "dense_relations",
    "focal_difference",
    "foreground",
    "match_levels",
]
