"""One class an image."""

from persistill.tasks.classification.task import Classification

__all__ = ["Classification"]
