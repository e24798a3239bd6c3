"""The command line: it parses, calls the pipeline and prints."""

from persistill.cli.entry_point import main

__all__ = ["main"]
