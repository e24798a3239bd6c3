"""The command line: it parses, calls the pipeline and prints."""

from persistill.cli.app import main

__all__ = ["main"]
