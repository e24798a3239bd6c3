"""Distillation methods: one file each, pure functions first, then settings that name terms and weights."""

from persistill.methods.amd import AMD, angular_margin
from persistill.methods.at import AT, attention, attention_transfer
from persistill.methods.dkd import DKD, decoupled_kl
from persistill.methods.kd import KD
from persistill.methods.sp import SP, similarity_preserving
from persistill.methods.tgd import TGD, merged_similarity

__all__ = [
    "AMD",
    "AT",
    "DKD",
    "KD",
    "SP",
    "TGD",
    "angular_margin",
    "attention",
    "attention_transfer",
    "decoupled_kl",
    "merged_similarity",
    "similarity_preserving",
]
