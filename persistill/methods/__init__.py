"""Distillation methods: one file each, pure functions first, then settings that name terms and weights."""

from persistill.methods.amd import AMD, angular_margin
from persistill.methods.at import AT, attention, attention_transfer
from persistill.methods.dist import DIST, correlation_distance, relational_match
from persistill.methods.dkd import DKD, decoupled_kl
from persistill.methods.fitnet import FitNet, hint_difference
from persistill.methods.kd import KD
from persistill.methods.nst import NST, neuron_selectivity
from persistill.methods.pkt import PKT, probabilistic_transfer
from persistill.methods.rkd import RKD, angle_relation, distance_relation
from persistill.methods.sp import SP, similarity_preserving
from persistill.methods.tgd import TGD, merged_similarity

__all__ = [
    "AMD",
    "AT",
    "DIST",
    "DKD",
    "KD",
    "NST",
    "PKT",
    "RKD",
    "SP",
    "TGD",
    "FitNet",
    "angle_relation",
    "angular_margin",
    "attention",
    "attention_transfer",
    "correlation_distance",
    "decoupled_kl",
    "distance_relation",
    "hint_difference",
    "merged_similarity",
    "neuron_selectivity",
    "probabilistic_transfer",
    "relational_match",
    "similarity_preserving",
]
