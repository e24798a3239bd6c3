"""A server of files by ranges, and a hub of data sets, on this machine; faults can be asked for."""

import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT, CONVERTED = "c" * 40, "d" * 40


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(send=False)

    def do_GET(self):
        self.answer(send=True)

    def answer(self, *, send):
        server, path = self.server, unquote(self.path.partition("?")[0])
        server.asked.append((self.command, path, self.headers.get("Range")))
        fault = server.fault(self.command, path)
        if fault:
            return self.reply(fault, b"")
        if path.startswith("/api/datasets/"):
            return self.hub(path.removeprefix("/api/datasets/"))
        if found := re.fullmatch(r"/datasets/(\w+/\w+)/resolve/(\w+)/(.*)", path):
            file = server.hub_folder(found[1], found[2]) / found[3]
        else:
            file = server.folder / path.lstrip("/")
        if not file.is_file():
            return self.reply(server.missing, b"")
        data = file.read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"', "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted and server.ranges:
            part = data[int(wanted[1]) : int(wanted[2]) + 1]
            headers["Content-Range"] = f"bytes {wanted[1]}-{wanted[2]}/{len(data)}"
            server.sent += len(part)
            return self.reply(206, part, headers, send=send)
        return self.reply(200, data, headers, send=send)

    def hub(self, path):
        name, _, rest = path.partition("/revision/") if "/revision/" in path else path.partition("/tree/")
        revision = rest.partition("?")[0] if "/revision/" in path else rest.partition("/")[0]
        folder = self.server.hub_folder(name, revision or "main")
        if folder is None or not folder.is_dir():
            missing = "RevisionNotFound" if revision and self.server.hub_folder(name, "main") else "RepoNotFound"
            return self.reply(404, b"{}", {"X-Error-Code": missing})
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = [file.relative_to(folder).as_posix() for file in files]
        if "/tree/" in path:
            inside = rest.partition("/")[2]
            found = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                for file, name in zip(files, names, strict=True)
                if name.startswith(inside)
            ]
        else:
            commit = CONVERTED if revision in ("refs/convert/parquet", CONVERTED) else COMMIT
            found = {"id": name, "sha": commit, "siblings": [{"rfilename": name} for name in names], "private": False}
            found |= {"downloads": 0, "likes": 0, "tags": [], "gated": False, "disabled": False}
        return self.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def reply(self, status, data, headers=(), *, send=True):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if send and self.command != "HEAD":
            self.wfile.write(data)


class RangeServer(ThreadingHTTPServer):
    """Files of a folder; what stands below ``hub/owner/name/main`` (or ``converted``) there is a data set of a hub.

    Attributes:
        asked: (method, path, range) of all requests.
        sent: bytes that were sent by ranges.
        faults: statuses that the next requests of files are answered by.
        refuses: of which methods faults are.
        missing: the status of files that are not there.
        ranges: whether ranges are answered.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked, self.sent, self.faults, self.ranges = [], 0, [], True
        self.refuses, self.missing = {"GET"}, 404
        self.url = f"http://127.0.0.1:{self.server_port}"

    def fault(self, method, path):
        return self.faults.pop(0) if self.faults and method in self.refuses else None

    def hub_folder(self, name, revision):
        branch = {"main": "main", COMMIT: "main", "refs/convert/parquet": "converted", CONVERTED: "converted"}
        folder = self.folder / "hub" / name
        return folder / branch.get(revision, revision) if folder.is_dir() else None


@contextlib.contextmanager
def serving(folder):
    server = RangeServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
