"""Persistill: small vision models that learn the shape of what a large one knows."""

__version__ = "0.1.0"
