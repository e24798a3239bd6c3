"""Real requests to a real server."""

import io
import json
import re
import socket
import time

import numpy as np
import pytest
from PIL import Image

from persistill.dashboard import DashboardServer
from persistill.dashboard.images import from_json, sample, to_json
from persistill.errors import UserError
from persistill.run_folder import RunFolder


@pytest.mark.parametrize("path", ["/", "/explorer"])
def test_pages_and_all_that_they_name(client, path):
    status, headers, content = client.ask("GET", path)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    named = re.findall(r'(?:src|href)="(/[^"]*)"', content.decode())
    assert "/static/view.css" in named
    for other in named:
        status, headers, content = client.ask("GET", other)
        assert status == 200
        assert len(content) == int(headers["Content-Length"]) > 500
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_every_control_has_a_label(client):
    text = client.ask("GET", "/explorer")[2].decode()
    labels = re.findall(r"<label class=\"field[^>]*>.*?</label>", text, re.DOTALL)
    for tag in re.findall(r"<(?:input|select)[^>]*>", text):
        name = re.search(r'id="([\w-]+)"', tag)[1]
        inside = any(f'id="{name}"' in label and "<span>" in label for label in labels)
        assert inside or "aria-label=" in tag or f'<label for="{name}"' in text, tag


def test_runs_and_curves(client, student):
    status, seen = client.json("/api/runs")
    assert status == 200
    assert [run["folder"] for run in seen["runs"]] == [student.path.name]
    status, found = client.json(f"/api/curves?run={student.path.name}")
    assert status == 200
    assert found["validation"]["percent"] == [25.0, 50.0]
    status, found = client.json("/api/curves?run=student-tgd-seed9")
    assert status == 400
    assert "Did you mean" in found["error"]


def test_reports_are_given_as_they_are_in_a_sandbox(client, runs):
    folder = RunFolder.create(runs, "comparison", "a b", {})
    folder.file("report.html").write_bytes("<p>Grün".encode())
    status, headers, content = client.ask("GET", f"/report/{folder.path.name}")
    assert (status, content) == (200, "<p>Grün".encode())
    assert headers["Content-Type"].startswith("text/html")
    policy = headers["Content-Security-Policy"].split("; ")
    assert policy[0] == "sandbox allow-scripts allow-downloads"
    assert {"default-src 'none'", "connect-src 'none'", "form-action 'none'", "frame-ancestors 'none'"} <= set(policy)


@pytest.mark.parametrize(
    "path",
    [
        "/report/../secret",
        "/report/..%2Fsecret",
        "/report/%2e%2e/secret",
        "/report/..",
        "/report/.",
        "/report/",
        "/report//etc/passwd",
        "/static/../server.py",
        "/static/..%2fserver.py",
        "/static/%2e%2e%2flive.py",
        "/static/index.html",
        "//etc/passwd",
        "/api/curves?run=../secret",
        "/api/curves?run=%2e%2e%2fsecret",
        "/api/curves",
        "/api/sample?name=../../flower",
        "/report/a%00b",
        "//[",
    ],
)
def test_no_path_leads_outside(client, runs, path):
    (runs.parent / "secret").mkdir()
    (runs.parent / "secret" / "report.html").write_text("secret")
    RunFolder.create(runs.parent, "comparison", "secret", {})
    status, headers, content = client.ask("GET", path)
    assert status in (400, 404)
    assert set(json.loads(content)) == {"error"}
    assert headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:80"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_sites_get_nothing(client, method, headers):
    status, _, content = client.ask(method, "/api/runs", b"" if method == "POST" else None, headers)
    assert status == 403
    assert json.loads(content) == {"error": "this server answers only pages of this machine."}


@pytest.mark.parametrize("path", ["/", "/explorer", "/api/runs", "/static/common.js", "/report/x", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "token"},
        {"Authorization": "token wrong"},
        {"Authorization": "token \u00fc"},
        {"Authorization": "", "Cookie": "persistill-1=wrong; \x01"},
    ],
)
def test_nobody_is_answered_without_the_token(client, path, headers):
    status, got, content = client.ask("GET", path, None, headers)
    assert status == 403
    assert "Open the address that persistill dashboard printed" in json.loads(content)["error"]
    assert "Set-Cookie" not in got


def test_the_token_goes_from_the_address_into_a_cookie(client):
    without, token = {"Authorization": ""}, client.server.access.token
    assert client.server.entrance == f"{client.url}?token={token}"
    assert len(token) >= 40
    status, headers, _ = client.ask("GET", f"/explorer?token={token}", None, without)
    assert (status, headers["Location"]) == (303, "/explorer")
    cookie = headers["Set-Cookie"]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert client.ask("GET", "/explorer", None, {**without, "Cookie": cookie.partition(";")[0]})[0] == 200
    assert client.ask("GET", f"/api/runs?token={token}", None, without)[0] == 200
    assert client.ask("GET", "/?token=wrong", None, without)[0] == 403
    with DashboardServer(client.server.live.root) as other:
        assert other.access.token != token


def test_two_hosts_are_no_host(client):
    port = client.server.server_port
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(f"GET / HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nHost: evil.example\r\n\r\n".encode())
        assert line.makefile().readline().split()[1] == "403"


def test_its_own_pages_may_ask(client):
    own = f"http://localhost:{client.server.server_port}"
    headers = {"Host": own.removeprefix("http://"), "Origin": own, "Sec-Fetch-Site": "same-origin"}
    assert client.ask("GET", "/api/runs", None, headers)[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_only_get_and_post(client, method):
    assert client.ask(method, "/")[0] == 501


def test_it_listens_on_loopback_alone(client):
    assert client.server.socket.getsockname()[0] == "127.0.0.1"


def test_a_taken_port(client, runs):
    with pytest.raises(UserError, match=r"is taken already\. Give another with --port"):
        DashboardServer(runs, client.server.server_port)


def test_uploads_are_answered_and_not_stored(client, runs):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    before = sorted(runs.parent.rglob("*"))
    status, found = client.json("/api/image", buffer.getvalue())
    assert status == 200
    assert np.array_equal(from_json(found), pixels.transpose(2, 0, 1))
    assert sorted(runs.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/image", b"no image", "no image in a known format"),
        ("/api/image", b"", "the file is empty"),
        ("/api/explore", b"{", "the request cannot be read"),
        ("/api/explore", b"\xff", "the request cannot be read"),
        ("/api/explore", b"[]", "must be a JSON object"),
        ("/api/explore", b'{"scan": "rows", "level": NaN}', "NaN is no number of JSON"),
        ("/api/explore", b'{"scan": "rows", "level": 1.5}', "level must be a whole number"),
        ("/api/explore", b"[" * 100_000, "nested deeper than 64 levels"),
        ("/api/explore", b'{"scan": ' * 70 + b"0" + b"}" * 70, "nested deeper than 64 levels"),
    ],
)
def test_bad_requests_get_a_sentence(client, path, body, said):
    status, found = client.json(path, body)
    assert status == 400
    assert said in found["error"]


def test_files_that_are_too_large_are_not_read(client):
    for length, said in (("1000000000", "954 MiB; at most 24 MiB"), ("-1", "does not tell its length")):
        with socket.create_connection(("127.0.0.1", client.server.server_port)) as line:
            host = client.url.removeprefix("http://").rstrip("/")
            token = client.server.access.token
            own = f"Host: {host}\r\nAuthorization: token {token}"
            line.sendall(f"POST /api/image HTTP/1.0\r\n{own}\r\nContent-Length: {length}\r\n\r\n".encode())
            answer = line.makefile("rb").read().decode()
        assert answer.startswith("HTTP/1.0 400")
        assert said in answer


def connect(client):
    return socket.create_connection(("127.0.0.1", client.server.server_port), timeout=20)


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HT", b"GET / HTTP/1.0\r\nHost: ", "POST /api/image HTTP/1.0\r\nHost: {}\r\n"]
)
def test_requests_that_do_not_arrive_are_cut(client, begun):
    client.server.patience = 0.2
    if isinstance(begun, str):  # all but the last bytes of the body
        own = f"127.0.0.1:{client.server.server_port}\r\nAuthorization: token {client.server.access.token}"
        begun = (begun.format(own) + "Content-Length: 100\r\n\r\nabc").encode()
    with connect(client) as line:
        line.sendall(begun)
        answer = line.makefile("rb").read()  # ends, because the server closes
    assert b"HTTP/1.0 200" not in answer
    assert client.json("/api/runs")[0] == 200


def test_a_request_in_drops_is_cut_though_each_drop_comes_in_time(client):
    client.server.patience = 0.3
    began = time.monotonic()
    with connect(client) as line, pytest.raises(OSError):
        while time.monotonic() - began < 15:
            line.sendall(b"x")
            time.sleep(0.02)
    assert time.monotonic() - began < 10


def test_no_more_connections_than_it_holds(client, monkeypatch):
    monkeypatch.setattr("persistill.dashboard.connections.MOST", 3)
    lines = [connect(client) for _ in range(3)]
    try:
        for line in lines:
            line.sendall(b"GET")
        deadline = time.monotonic() + 10
        while (status := client.ask("GET", "/api/runs")[0]) != 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert status == 503
    finally:
        for line in lines:
            line.close()
    while (status := client.ask("GET", "/api/runs")[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert status == 200


def test_a_mistake_of_ours_is_an_answer(client, monkeypatch, capsys):
    monkeypatch.setattr(client.server.live, "overview", lambda: 1 / 0)
    status, found = client.json("/api/runs")
    assert status == 500
    assert "ZeroDivisionError" in found["error"]
    assert "Traceback" in capsys.readouterr().err


def test_nothing_is_posted_elsewhere(client):
    assert client.ask("POST", "/api/runs", b"{}")[0] == 404


def test_samples_and_the_explorer(client):
    status, image = client.json("/api/sample?name=digit-3")
    assert (status, image) == (200, to_json(sample("digit-3")))
    request = {
        "image": image,
        "channel": "luminance",
        "scan": "columns",
        "level": 128,
        "cells": 10,
        "bandwidth": 0.1,
        "births": [0, 1],
        "persistences": [0, 1],
        "min_persistence": 0,
        "weight": "constant",
    }
    status, answer = client.json("/api/explore", json.dumps(request).encode())
    assert status == 200
    assert answer["alive"] + answer["ended"] + answer["unborn"] == len(answer["bars"]) > 5
    status, answer = client.json("/api/explore", json.dumps(request | {"bandwidth": -1}).encode())
    assert (status, answer) == (400, {"error": "bandwidth must be above 0; got -1."})
    for extreme in (1e-320, 1e-300, 1e-30, 1e30, 1e300, 1.7e308):
        for field in ("bandwidth", "min_persistence"):
            status, answer = client.json("/api/explore", json.dumps(request | {field: extreme}).encode())
            assert status in (200, 400), answer
        for window in ([0, extreme], [-extreme, extreme]):
            status, answer = client.json("/api/explore", json.dumps(request | {"births": window}).encode())
            assert status in (200, 400), answer


def test_the_command(runs, monkeypatch):
    from typer.testing import CliRunner

    from persistill.cli.app import app

    opened = []

    def interrupted(server, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(DashboardServer, "serve_forever", interrupted)
    done = CliRunner().invoke(app, ["dashboard", "--out", str(runs), "--port", "0"])
    assert done.exit_code == 0
    assert re.match(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+ ", done.output)
    assert "Ended." in done.output
    assert opened == [done.output.split()[0]]
    CliRunner().invoke(app, ["dashboard", "--out", str(runs), "--port", "0", "--no-browser"])
    assert len(opened) == 1
