"""A connection to a cluster of Ray."""

import logging
import os
from typing import Any, Self

from persistill.errors import UserError, first_line
from persistill.utils.stop_signals import handlers_kept


class RayConnection:
    """A connection to Ray; a context manager, which ends it, unless it was there before.

    The cluster is the one that ``RAY_ADDRESS`` names, or else one that was started on this machine (``ray start``), or
    else one that begins and ends with the block, on all cores of this machine.

    Attributes:
        ray: the library.

    Raises:
        UserError: if Ray is not installed, or the cluster does not answer.
    """

    def __init__(self) -> None:
        try:
            import ray  # noqa: PLC0415 - an extra
        except ImportError:
            raise UserError(
                'the executor "ray" needs Ray, which is not installed: pip install "persistill[ray]". Without it, '
                "--workers has the work done by processes on this machine."
            ) from None
        self.ray: Any = ray
        self._started = False

    def __enter__(self) -> Self:
        if not self.ray.is_initialized():
            with handlers_kept():  # Ray would have SIGTERM end the process before its work is stopped
                self._connect()
            self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self.ray.shutdown()
            self._started = False

    @property
    def processors(self) -> int:
        """Of all machines of the cluster together, now."""
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _connect(self) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        address = os.environ.get("RAY_ADDRESS")
        try:
            self.ray.init(address=address or "auto", **quiet)
        except ConnectionError as error:
            if address:
                raise UserError(f"RAY_ADDRESS={address}: {first_line(error)}") from error
            self.ray.init(include_dashboard=False, **quiet)
