"""Distillation methods: one file each, pure functions first, then settings that name terms and weights."""

from persistill.methods.kd import KD
from persistill.methods.sp import SP, similarity_preserving
from persistill.methods.tgd import TGD, merged_similarity

__all__ = ["KD", "SP", "TGD", "merged_similarity", "similarity_preserving"]
