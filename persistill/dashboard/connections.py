"""A server of threads that holds no more connections than it can, and none that does not get on."""

import contextlib
import socket
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any

MOST = 64
"""Connections at a time; a browser opens about six."""
PATIENCE = 20.0
"""Seconds in which a request must have arrived whole."""
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n"


class LimitedServer(ThreadingHTTPServer):
    """Answers each connection in a thread: at most ``MOST`` of them, and requests that arrive within ``PATIENCE``.

    Attributes:
        patience: seconds; ``PATIENCE`` but in tests.
    """

    daemon_threads = True
    patience = PATIENCE

    def __init__(self, *args: Any) -> None:
        self._open: dict[socket.socket, float | None] = {}
        self._lock = threading.Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection; where there are too many, say so and close it."""
        with self._lock:
            full = len(self._open) >= MOST
            if not full:
                self._open[request] = time.monotonic() + self.patience
        if not full:
            super().process_request(request, client_address)
            return
        with contextlib.suppress(OSError):
            request.settimeout(0.1)
            request.sendall(_BUSY)
        self.shutdown_request(request)

    def arrived(self, request: socket.socket) -> None:
        """A request was read whole: what is left takes as long as the answer does."""
        with self._lock:
            self._open[request] = None

    def service_actions(self) -> None:
        """Called by the server every half a second: cut connections whose requests do not arrive."""
        now = time.monotonic()
        with self._lock:
            late = [one for one, deadline in self._open.items() if deadline is not None and deadline < now]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads it

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the other side closed, or that were cut; of other errors what Python says."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
