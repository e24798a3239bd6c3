"""Run folders and the explorer of persistent homology in a browser, on this machine alone."""

from persistill.view.live import Live
from persistill.view.server import ViewServer

__all__ = ["Live", "ViewServer"]
