"""One class a pixel."""

from persistill.tasks.segmentation.task import Segmentation

__all__ = ["Segmentation"]
