"""Requests to the dashboard, whole and broken: an answer with a sentence, or the end of the connection."""

import http.client
import json
import random
import socket
import threading
from functools import cache
from pathlib import Path

from mutations import dumped, mutated, mutated_bytes

from persistill.dashboard import DashboardServer
from persistill.dashboard.images import sample, to_json

_TARGETS = (
    *(
        "/",
        "/explorer",
        "/api/runs",
        "/api/curves?run=x",
        "/api/sample?name=digit-3",
        "/api/explorer-fields",
        "/report/x",
    ),
    *(
        "/static/common.js",
        "/report/..%2f..",
        "/%00",
        "//x",
        "/api/curves?run=%ff",
        "/?token=x",
        "*",
        "http://x/",
        "/" * 900,
    ),
)
_EXPLORE = {
    "channel": "luminance",
    "scan": "rows",
    "level": 9,
    "cells": 5,
    "bandwidth": 0.1,
    "births": [0, 1],
    "persistences": [0, 1],
    "min_persistence": 0,
    "weight": "linear",
}


@cache
def _server(root: Path) -> DashboardServer:
    server = DashboardServer(root)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def requests(draw: random.Random, place: Path) -> int:
    """One request: a question of the explorer, or bytes that may be a request."""
    server = _server(place / "runs")
    if draw.random() < 0.5:
        body = dumped(mutated({**_EXPLORE, "image": to_json(sample("digit-3"))}, draw))
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        connection.request("POST", "/api/explore", body, {"Authorization": f"token {server.access.token}"})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        assert answer.status in (200, 400), (answer.status, said, body)
        assert answer.status == 200 or json.loads(said)["error"]
        return 1
    token = draw.choice((server.access.token, server.access.token, "x"))
    head = (
        f"{draw.choice(('GET', 'POST'))} {draw.choice(_TARGETS)} HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n"
    )
    content = f"{head}Authorization: token {token}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as line:
        line.sendall(mutated_bytes(content, draw) if draw.random() < 0.8 else content)
        line.shutdown(socket.SHUT_WR)
        try:
            said = line.makefile("rb").read()
        except ConnectionError:
            said = b""  # what was not read of a request resets the connection
    status = said.split(b"\r\n")[0]
    assert b" 500 " not in status, (content, said)
    return 1


CASES = {"requests": requests}
