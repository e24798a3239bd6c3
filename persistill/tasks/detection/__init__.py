"""Boxes around objects."""

from persistill.tasks.detection.task import Detection

__all__ = ["Detection"]
