"""A web server for this machine alone: pages, run folders as JSON, and the explorer's answers."""

import errno
import json
import threading
import traceback
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from plotly.offline import get_plotlyjs

from persistill.dashboard.access import LOOPBACK, Access
from persistill.dashboard.connections import LimitedServer
from persistill.dashboard.explorer_fields import explorer_fields
from persistill.dashboard.live import Live
from persistill.errors import UserError
from persistill.utils.strict_json import decode_json

_LARGEST_BODY = 24 * 2**20
_PAGES = {"/": "index.html", "/explorer": "explorer.html"}
_SCRIPTS = ("common.js", "index.js", "explorer.js")
_SCRIPT, _STYLE, _HTML, _JSON = (
    f"{kind}; charset=utf-8" for kind in ("text/javascript", "text/css", "text/html", "application/json")
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Of reports, which may be somebody else's: their scripts run in an origin of their own and reach nothing. Reports of
ours bring a second policy, which lets no scripts run but theirs."""


class Response(NamedTuple):
    """What is sent: the bytes, what they are, and the policy under which a browser runs them."""

    content: bytes
    kind: str
    policy: str = _POLICY


class DashboardServer(LimitedServer):
    """Serves run folders and the explorer on 127.0.0.1.

    It answers GET and POST from this machine whose Host header names this machine, so that no page of another site can
    reach it under a name of its own, and only to who has the token in the printed address. It writes nothing; images
    that are sent to it are looked at and forgotten.

    Attributes:
        live: the run folders.
        access: who is answered.
        url: where it is to be reached, without the token.

    Args:
        root: where run folders lie; it need not exist yet.
        port: 0 for any that is free.

    Raises:
        UserError: if the port is taken or may not be used.
    """

    def __init__(self, root: Path, port: int = 0) -> None:
        self.live = Live(root)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "taken already" if error.errno == errno.EADDRINUSE else "not for you to use"
            raise UserError(f"port {port} is {why}. Give another with --port, or --port 0 for any free one.") from None
        self.access = Access(self.server_port)
        self.url = f"http://{LOOPBACK}:{self.server_port}/"

    @property
    def entrance(self) -> str:
        """The address to be opened first: it holds the token."""
        return f"{self.url}?token={self.access.token}"


class _Handler(BaseHTTPRequestHandler):
    server: DashboardServer
    server_version = "persistill"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._handle(self._get)

    def do_POST(self) -> None:
        self._handle(self._post)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing: the page asks every few seconds."""

    def _handle(self, answer: Callable[[str, dict[str, list[str]]], Response | None]) -> None:
        try:
            status, found = self._answered(answer)
        except UserError as error:
            status, found = HTTPStatus.BAD_REQUEST, _error(str(error))
        except ValueError as error:
            status, found = HTTPStatus.BAD_REQUEST, _error(f"the request cannot be read: {error}.")
        except OSError:
            raise  # the other side is gone
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends one answer and not the connection
            traceback.print_exc()
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            found = _error(f"{type(error).__name__}: {error}. This is a mistake in persistill; please report it.")
        self._send(status, found)

    def _answered(self, answer: Callable[[str, dict[str, list[str]]], Response | None]) -> tuple[HTTPStatus, Response]:
        access = self.server.access
        if not access.from_here(self.client_address[0], self.headers):
            return HTTPStatus.FORBIDDEN, _error("this server answers only pages of this machine.")
        if not access.allows(self.path, self.headers):
            return HTTPStatus.FORBIDDEN, _error(
                "the token is missing or is that of another server. Open the address that persistill dashboard printed."
            )
        # A path is looked up in tables, decoded once: nothing of it ever becomes the path of a file.
        parts = urlsplit(self.path)
        found = answer(unquote(parts.path), parse_qs(parts.query))
        if found is None:
            return HTTPStatus.NOT_FOUND, _error("there is nothing here. Start at /")
        if found.kind == _HTML and access.in_address(self.path):
            return HTTPStatus.SEE_OTHER, found  # the token goes into a cookie, and out of the address
        return HTTPStatus.OK, found

    def _get(self, path: str, query: dict[str, list[str]]) -> Response | None:
        self.server.arrived(self.connection)
        live = self.server.live
        if path in _PAGES:
            return Response(_page(_PAGES[path]), _HTML)
        if path == "/static/view.css":
            return Response(_styles(), _STYLE)
        if path == "/static/plotly.js":
            return Response(_plotly(), _SCRIPT)
        if path.startswith("/static/") and path.removeprefix("/static/") in _SCRIPTS:
            return Response(_page(path.removeprefix("/static/")), _SCRIPT)
        if path == "/api/runs":
            return _json(live.overview())
        if path == "/api/curves":
            return _json(live.curves(query.get("run", [""])[0]))
        if path == "/api/explorer-fields":
            return _json(explorer_fields())
        if path == "/api/sample":
            from persistill.dashboard.images import sample, to_json  # noqa: PLC0415 - torch is slow to import

            return _json(to_json(sample(query.get("name", [""])[0])))
        if path.startswith("/report/"):
            return Response(live.report(path.removeprefix("/report/")), _HTML, _REPORT_POLICY)
        return None

    def _post(self, path: str, query: dict[str, list[str]]) -> Response | None:  # noqa: ARG002 - one shape for both
        if path not in ("/api/image", "/api/explore"):
            return None
        body = self._body()
        self.server.arrived(self.connection)
        with _ONE_AT_A_TIME:
            if path == "/api/image":
                from persistill.dashboard.images import decode, to_json  # noqa: PLC0415

                return _json(to_json(decode(body)))
            from persistill.dashboard.explorer import explore  # noqa: PLC0415

            return _json(explore(decode_json(body)))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise UserError("the request does not tell its length.")
        if int(length) > _LARGEST_BODY:
            raise UserError(
                f"the file has {int(length) / 2**20:,.0f} MiB; at most {_LARGEST_BODY // 2**20} MiB are read. "
                "Make the image smaller."
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise UserError(f"the request ended after {len(body):,} of its {int(length):,} bytes.")
        return body

    def _send(self, status: HTTPStatus, answer: Response) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": answer.policy,
        }
        if status == HTTPStatus.SEE_OTHER:
            headers |= {"Location": urlsplit(self.path).path, "Set-Cookie": self.server.access.set_cookie}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(answer.content)
        except ConnectionError:
            self.close_connection = True  # the page was closed meanwhile


_ONE_AT_A_TIME = threading.Lock()  # a training may be under way: the explorer takes one core at most


def _json(content: object) -> Response:
    return Response(json.dumps(content, allow_nan=False).encode(), _JSON)


def _error(message: str) -> Response:
    return _json({"error": message})


@cache
def _page(name: str) -> bytes:
    return (resources.files("persistill.dashboard") / "pages" / name).read_bytes()


@cache
def _styles() -> bytes:
    shared = (resources.files("persistill.report") / "templates" / "page.css").read_bytes()
    return shared + b"\n" + _page("view.css")


@cache
def _plotly() -> bytes:
    found: str = get_plotlyjs()
    return found.encode()
