"""The kinds of stages, one a file: what a stage of this kind depends on, and its work."""
