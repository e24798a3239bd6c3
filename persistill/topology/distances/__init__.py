"""Distances between diagrams."""
