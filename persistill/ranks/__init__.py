"""The processes that work at one thing together: what they tell each other, share out, and hold in parts."""

from persistill.ranks.ranks import Ranks
from persistill.ranks.sharded_weights import hold_whole, holds_parts, shard_weights, whole_weights

__all__ = ["Ranks", "hold_whole", "holds_parts", "shard_weights", "whole_weights"]
