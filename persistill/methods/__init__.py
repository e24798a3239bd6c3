"""Distillation methods: one file each, pure functions first, then settings that name terms and weights."""

from persistill.methods.ab import AB, activation_boundary
from persistill.methods.amd import AMD, angular_margin
from persistill.methods.at import AT, attention, attention_transfer
from persistill.methods.averagedkd import AveragedKD, averaged_kl
from persistill.methods.cc import CC, correlation_congruence, neighbour_congruence
from persistill.methods.channelgraphs import channel_graph, laplacian, spectral_difference, spectral_residual
from persistill.methods.crd import CRD, contrastive_estimation
from persistill.methods.dist import DIST, correlation_distance, relational_match
from persistill.methods.dkd import DKD, decoupled_kl
from persistill.methods.fitnet import FitNet, hint_difference
from persistill.methods.ickd import ICKD, channel_correlation
from persistill.methods.kd import KD
from persistill.methods.learnedtgd import LearnedTGD, mixture_cross_entropy
from persistill.methods.nst import NST, neuron_selectivity
from persistill.methods.pkt import PKT, probabilistic_transfer
from persistill.methods.reviewkd import ReviewKD, hierarchical_context
from persistill.methods.rkd import RKD, angle_relation, distance_relation
from persistill.methods.sekd import SEKD, attention_masks, edge_difference, vertex_difference
from persistill.methods.sp import SP, similarity_preserving
from persistill.methods.tgd import TGD, merged_similarity
from persistill.methods.topkd import TopKD, topology_loss
from persistill.methods.vid import VID, gaussian_surprise
from persistill.methods.weightedtgd import WeightedTGD, confidence_weights

__all__ = [
    "AB",
    "AMD",
    "AT",
    "CC",
    "CRD",
    "DIST",
    "DKD",
    "ICKD",
    "KD",
    "NST",
    "PKT",
    "RKD",
    "SEKD",
    "SP",
    "TGD",
    "VID",
    "AveragedKD",
    "FitNet",
    "LearnedTGD",
    "ReviewKD",
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
    "channel_graph",
    "confidence_weights",
    "contrastive_estimation",
    "correlation_congruence",
    "correlation_distance",
    "decoupled_kl",
    "distance_relation",
    "edge_difference",
    "gaussian_surprise",
    "hierarchical_context",
    "hint_difference",
    "laplacian",
    "merged_similarity",
    "mixture_cross_entropy",
    "neighbour_congruence",
    "neuron_selectivity",
    "probabilistic_transfer",
    "relational_match",
    "similarity_preserving",
    "spectral_difference",
    "spectral_residual",
    "topology_loss",
    "vertex_difference",
]
