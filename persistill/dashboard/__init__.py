"""Run folders and the explorer of persistent homology in a browser, on this machine alone."""

from persistill.dashboard.live import Live
from persistill.dashboard.server import DashboardServer

__all__ = ["DashboardServer", "Live"]
