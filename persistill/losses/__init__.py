"""Distillation losses: one file each, pure functions first, then settings that name terms and weights."""

from persistill.losses.ab import AB, activation_boundary
from persistill.losses.amd import AMD, angular_margin
from persistill.losses.at import AT, attention, attention_transfer
from persistill.losses.averaged_kd import AveragedKD, averaged_kl
from persistill.losses.base import (
    AutoconfigContext,
    DistillationLoss,
    LossModule,
    LossOutput,
    MethodContext,
    Preparation,
    Suggestion,
    weighted_sum,
)
from persistill.losses.cc import CC, correlation_congruence, neighbor_congruence
from persistill.losses.crd import CRD, contrastive_estimation
from persistill.losses.cwd import CWD, channel_divergence
from persistill.losses.dist import DIST, correlation_distance, relational_match
from persistill.losses.dkd import DKD, decoupled_kl
from persistill.losses.fitnet import FitNet, hint_loss
from persistill.losses.functional import (
    FlatLogits,
    Reduction,
    check_batches,
    check_logits,
    divergences,
    flatten_logits,
    full_precision,
    gram,
    kl,
    match_maps,
    normalize_deviations,
    normalize_rows,
    rounding,
    similarity,
    standardize_logits,
    to_common_size,
)
from persistill.losses.ickd import ICKD, channel_correlation
from persistill.losses.kd import KD
from persistill.losses.nkd import NKD, normalized_kd
from persistill.losses.nst import NST, neuron_selectivity
from persistill.losses.pkt import PKT, pkt_loss
from persistill.losses.reviewkd import ReviewKD, hierarchical_context
from persistill.losses.rkd import RKD, angle_relation, distance_relation
from persistill.losses.sekd.channel_graph import (
    channel_graph,
    laplacian,
    spectral_difference,
    spectral_residual,
)
from persistill.losses.sekd.sekd import SEKD, attention_masks, edge_difference, vertex_difference
from persistill.losses.simkd import SimKD
from persistill.losses.sp import SP, similarity_preserving
from persistill.losses.srrl import SRRL, softmax_regression
from persistill.losses.tgd.learned_tgd import LearnedTGD, mixture_cross_entropy
from persistill.losses.tgd.tgd import TGD, merged_similarity
from persistill.losses.tgd.weighted_tgd import WeightedTGD, confidence_weights
from persistill.losses.topkd.topkd import TopKD, topology_loss
from persistill.losses.vid import VID, gaussian_nll
from persistill.losses.wttm import WTTM, transformed_teacher_kl

__all__ = [
    "AB",
    "AMD",
    "AT",
    "CC",
    "CRD",
    "CWD",
    "DIST",
    "DKD",
    "ICKD",
    "KD",
    "NKD",
    "NST",
    "PKT",
    "RKD",
    "SEKD",
    "SP",
    "SRRL",
    "TGD",
    "VID",
    "WTTM",
    "AutoconfigContext",
    "AveragedKD",
    "DistillationLoss",
    "FitNet",
    "FlatLogits",
    "LearnedTGD",
    "LossModule",
    "LossOutput",
    "MethodContext",
    "Preparation",
    "Reduction",
    "ReviewKD",
    "SimKD",
    "Suggestion",
    "TopKD",
    "WeightedTGD",
    "activation_boundary",
    "angle_relation",
    "angular_margin",
    "attention",
    "attention_masks",
    "attention_transfer",
    "averaged_kl",
    "channel_correlation",
    "channel_divergence",
    "channel_graph",
    "check_batches",
    "check_logits",
    "confidence_weights",
    "contrastive_estimation",
    "correlation_congruence",
    "correlation_distance",
    "decoupled_kl",
    "distance_relation",
    "divergences",
    "edge_difference",
    "flatten_logits",
    "full_precision",
    "gaussian_nll",
    "gram",
    "hierarchical_context",
    "hint_loss",
    "kl",
    "laplacian",
    "match_maps",
    "merged_similarity",
    "mixture_cross_entropy",
    "neighbor_congruence",
    "neuron_selectivity",
    "normalize_deviations",
    "normalize_rows",
    "normalized_kd",
    "pkt_loss",
    "relational_match",
    "rounding",
    "similarity",
    "similarity_preserving",
    "softmax_regression",
    "spectral_difference",
    "spectral_residual",
    "standardize_logits",
    "to_common_size",
    "topology_loss",
    "transformed_teacher_kl",
    "vertex_difference",
    "weighted_sum",
]
