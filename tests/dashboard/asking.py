"""Asking a server, and records as training writes them."""

import http.client
import json
from typing import Any

from persistill.dashboard import DashboardServer


class Client:
    """Asks a server, as a browser would or as no browser would."""

    def __init__(self, server: DashboardServer) -> None:
        self.server = server
        self.url = server.url

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        try:
            token = {"Authorization": f"token {self.server.access.token}"}
            connection.request(method, path, body=body, headers={**token, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        status, _, content = self.ask("GET" if body is None else "POST", path, body)
        return status, json.loads(content)


def epoch(number: int, accuracy: float | None, **terms: float | None) -> dict[str, Any]:
    """A record as training writes it."""
    return {
        "type": "epoch",
        "step": 10 * number,
        "epoch": number,
        "epochs": 5,
        "loss": sum(value or 0.0 for value in terms.values()),
        "terms": terms,
        "validation": {"accuracy": accuracy, "nll": 1.0},
    }
