"""From a recipe to its stages, and through them."""

from persistill.pipeline.runner import Pipeline
from persistill.pipeline.stage import Stage

__all__ = ["Pipeline", "Stage"]
