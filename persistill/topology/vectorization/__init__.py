"""Functions and numbers of diagrams."""
