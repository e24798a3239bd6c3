"""Diagrams as functions and numbers: landscapes, Betti curves, statistics."""
